#![allow(clippy::unwrap_used)]
use super::*;
use crate::change::{Begin, RelationColumn, Timestamp};

fn relation(replica_identity: ReplicaIdentity) -> Arc<Relation> {
    let is_full = replica_identity == ReplicaIdentity::Full;
    let column = |name: &str, identity| RelationColumn {
        name: name.to_owned(),
        type_oid: 25,
        type_modifier: -1,
        identity: identity || is_full,
    };
    let columns = vec![column("a", true), column("it's", true), column("big", false)];
    let (oid, schema, name) = (7, "public".to_owned(), "t".to_owned());
    Arc::new(Relation { oid, schema, name, replica_identity, columns, leaf: None })
}

/// `-` is unchanged, `0` is NULL.
fn tuple(cells: [&str; 3]) -> Tuple {
    let cell = |text: &str| match text {
        "-" => Cell::Unchanged,
        "0" => Cell::Null,
        text => Cell::Text(Bytes::copy_from_slice(text.as_bytes())),
    };
    cells.map(cell).into()
}

fn update(before: Before, new: [&str; 3]) -> Change {
    let identity = match before {
        Before::Full(_) => ReplicaIdentity::Full,
        _ => ReplicaIdentity::Default,
    };
    Change::Update { relation: relation(identity), before, new: tuple(new) }
}

#[test]
fn only_a_new_key_without_all_its_values_is_looked_up() {
    let tables = Together::from([(7, Vec::new())]);
    let key = |cells| Before::Key(tuple(cells));
    for (before, new, lacks, after) in [
        (Before::Absent, ["1", "k", "-"], false, ["1", "k", "-"]),
        (key(["1", "k", "0"]), ["2", "k", "x"], false, ["2", "k", "x"]),
        (key(["1", "k", "0"]), ["2", "k", "-"], true, ["2", "k", "-"]),
        (key(["1", "k", "0"]), ["2", "-", "-"], true, ["2", "k", "-"]),
        // A wide column in the key makes the server send the old key even if it has not
        // changed.
        (key(["1", "k", "0"]), ["1", "-", "-"], false, ["1", "k", "-"]),
        (Before::Full(tuple(["1", "k", "x"])), ["2", "-", "-"], false, ["2", "k", "x"]),
    ] {
        let mut change = update(before, new);
        assert_eq!(lacks_values(&mut change, &tables), lacks, "{change:?}");
        let Change::Update { new, .. } = change else { panic!() };
        assert_eq!(new, tuple(after));
    }
    let relation = relation(ReplicaIdentity::Default);
    let mut insert = Change::Insert { relation, new: tuple(["1", "k", "-"]) };
    assert!(lacks_values(&mut insert, &tables), "a row filter made an insert of an update");
}

#[test]
fn columns_that_are_used_together_are_looked_up_if_one_of_them_is_not_sent() {
    let list = |names: [&str; 2]| vec![names.map(str::to_owned).to_vec()];
    for (names, new, lacks) in [
        (["it's", "big"], ["1", "k", "-"], true),
        (["it's", "big"], ["1", "0", "-"], true),
        (["it's", "big"], ["1", "k", "x"], false),
        (["it's", "gone"], ["1", "k", "-"], false),
    ] {
        let tables = Together::from([(7, list(names))]);
        let mut change = update(Before::Absent, new);
        assert_eq!(lacks_values(&mut change, &tables), lacks, "{change:?}");
        let mut of_others = update(Before::Absent, new);
        assert!(!lacks_values(&mut of_others, &Together::from([(8, list(names))])));
    }
}

#[test]
fn what_is_read_at_once_is_bounded_and_stays_in_order() {
    let url = "postgres://u@h/d".parse().unwrap();
    let mut whole = Whole::new((), url, Together::from([(7, Vec::new())]));
    let begin =
        Begin { xid: 7, commit_lsn: Lsn(1), committed_at: Timestamp::default(), stamp: None };
    let change = |number: usize| {
        let key = number.to_string();
        let (old, cells) = (tuple(["old", "k", "0"]), [key.as_str(), "k", "-"]);
        Event::Change(update(Before::Key(old), cells))
    };
    let all: Vec<Event> =
        std::iter::once(Event::Begin(begin)).chain((0..ROWS_MAX + 5).map(change)).collect();
    whole.pending = all.clone();
    let (mut events, unsent) = whole.piece();
    assert_eq!((events.len(), unsent.len()), (1 + ROWS_MAX, ROWS_MAX));
    assert!(unsent.iter().all(|row| row.xid == 7) && unsent[0].event == 1);
    let (rest, unsent) = whole.piece();
    assert!(unsent.len() == 5 && unsent.iter().all(|row| row.xid == 7));
    events.extend(rest);
    assert!(events == all && whole.pending.is_empty());
    (whole.tables, whole.pending) = (Together::new(), all.clone());
    assert!(whole.piece().1.is_empty(), "only tables of ours are read");
}

#[test]
fn rows_are_asked_for_by_key_with_names_and_values_quoted() {
    let (name, from) = (TableName::new("public", "t"), "ONLY public.t".to_owned());
    let relation = relation(ReplicaIdentity::Default);
    let (is_partitioned, equalities) = (false, Equalities::default());
    let located = Located { name, from, is_partitioned, equalities };
    let select = located.select(&relation, &tuple(["o'x", "k\\", "-"]));
    let expected = "SELECT \"big\" FROM ONLY public.t WHERE \"a\" OPERATOR(pg_catalog.=) 'o''x' \
        AND \"it's\" OPERATOR(pg_catalog.=) E'k\\\\'";
    assert_eq!(select, expected);
}
