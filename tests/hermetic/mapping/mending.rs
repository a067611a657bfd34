//! A file for tables that clash: `init` writes the edits that the rest needs to work.

use wal2graph::catalog::{ReplicaIdentity, Table};
use wal2graph::mapping::{Mapping, compile, mend, render_mended, scalar};

use super::catalogs::{TableExt, catalog, customers, edits, node, table};

/// The written text, and the mapping that it gives when read.
fn written(tables: Vec<Table>) -> (String, Mapping) {
    let catalog = catalog(tables);
    let refusals = compile(&catalog, &edits("{}")).expect_err("it clashes");
    let mended = mend(&catalog, &edits("{}"));
    assert!(mended.refusals.is_empty() && !refusals.is_empty(), "{mended:#?}");
    let yaml = render_mended(&catalog, &mended);
    let mapping =
        compile(&catalog, &edits(&yaml)).unwrap_or_else(|error| panic!("{error:#?}\n{yaml}"));
    (yaml, mapping)
}

#[test]
fn two_tables_with_one_label_get_two() {
    let tables = vec![table("user", "id int4").pk("id"), table("users", "id int4").pk("id")];
    let (yaml, mapping) = written(tables);
    assert_eq!(node(&mapping, "user").label, "User");
    assert_eq!(node(&mapping, "users").label, "Users");
    assert!(yaml.contains("# mended: public.users: its label \"User\" is also"), "{yaml}");
    let zeros = ["zero", "zeros", "zeroes", "Zeros"].map(|name| table(name, "id int4").pk("id"));
    let (_, mapping) = written(zeros.into());
    let labels: std::collections::BTreeSet<_> = mapping.labels().into_iter().collect();
    assert_eq!(labels.len(), 4, "{labels:?}");
}

#[test]
fn columns_that_begin_with_an_underscore_get_another_name() {
    let columns = "id int4, _id text, _version int4, version int4, _ text, __id int4";
    let (yaml, mapping) = written(vec![table("items", columns).pk("id")]);
    let names = &node(&mapping, "items").properties;
    assert_eq!(names, &["id_2", "version_2", "version", "column", "id_3"], "{yaml}");
    let key = table("events", "_id int4").pk("_id");
    let (_, mapping) = written(vec![key]);
    assert_eq!(node(&mapping, "events").key, ["id"]);
}

#[test]
fn a_table_without_a_usable_key_is_left_out_and_the_file_says_why() {
    let late = table("late", "id int4").pk("id");
    let late = late.with(|it| it.primary_key.as_mut().unwrap().immediate = false);
    let nothing = table("nothing", "id int4").pk("id");
    let nothing = nothing.with(|it| it.replica_identity = ReplicaIdentity::Nothing);
    let (yaml, mapping) = written(vec![customers(), late, nothing]);
    assert_eq!(mapping.labels(), ["Customer"]);
    for line in [
        "# mended: public.late: its primary key",
        "public.late: {skip: true}",
        "public.nothing: {skip: true}",
    ] {
        assert!(yaml.contains(line), "{line}\n{yaml}");
    }
}

#[test]
fn what_the_users_own_file_says_is_left_as_it_is_and_refused_in_the_file() {
    let catalog = catalog([table("user", "id int4").pk("id"), table("users", "id int4").pk("id")]);
    let own = "{tables: {public.users: {label: User}}}";
    let mended = mend(&catalog, &edits(own));
    let yaml = render_mended(&catalog, &mended);
    assert_eq!(mended.refusals.len(), 1);
    assert!(yaml.contains("# refused: public.users: its label"), "{yaml}");
    let read = edits(&yaml);
    assert_eq!(read.tables["public.users"].label.as_deref(), Some("User"), "a user can mend it");
    assert_eq!(read.tables.len(), 2, "{yaml}");
}

#[test]
fn relationships_that_could_not_be_told_apart_get_two_types() {
    // Both are (User)-[:GROUP_USER]->(Group): a foreign key, and a join table.
    let users = table("users", "id int4, group_user_id int4").pk("id");
    let users = users.fk("group_user_id", "groups", "id");
    let groups = table("groups", "id int4").pk("id");
    let join = table("group_user", "user_id int4, group_id int4").pk("user_id, group_id");
    let join = join.fk("user_id", "users", "id").fk("group_id", "groups", "id");
    let both = edits(
        "{tables: {public.users: {relationships: [\
        {type: GROUP_USER, columns: [group_user_id], to: public.groups}]}}}",
    );
    let tables = catalog([users, groups, join]);
    assert!(compile(&tables, &both).is_err(), "they clash");
    let mended = mend(&tables, &both);
    let yaml = render_mended(&tables, &mended);
    assert!(mended.refusals.is_empty() && yaml.contains("GROUP_USER_2"), "{yaml}");
    compile(&tables, &edits(&yaml)).unwrap_or_else(|error| panic!("{error:#?}\n{yaml}"));
}

#[test]
fn a_relationship_whose_name_has_no_letter_gets_a_type() {
    let join = table("!!", "a int4, b int4").pk("a, b");
    let join = join.fk("a", "customers", "id").fk("b", "customers", "id");
    let (yaml, mapping) = written(vec![customers(), join]);
    assert!(yaml.contains("type: RELATED\n"), "{yaml}");
    assert_eq!(mapping.model.tables.len(), 2);
    let refers = table("things", "id int4, ? int4").pk("id").fk("?", "!", "id");
    let (yaml, _) = written(vec![table("!", "id int4").pk("id"), refers]);
    assert!(yaml.contains("type: RELATED"), "{yaml}");
}

/// Names that YAML reads as something else, or that end the written text.
const HOSTILE: &[&str] = &[
    "1e3",
    "e3",
    "0x10",
    "1_000",
    "12:30:45",
    "1.5",
    ".5",
    "-",
    "- a",
    "yes",
    "No",
    "null",
    "~",
    "",
    " ",
    " a ",
    "a: b",
    "a:",
    "a #b",
    "#",
    "\"",
    "'",
    "it's",
    "{a}",
    "[b]",
    "a, b",
    "&a",
    "*a",
    "!a",
    "%a",
    "@a",
    "`a`",
    "|",
    ">",
    "?",
    "? a",
    "---",
    "...",
    "<<",
    "=",
    "\\",
    "\\n",
    "a\nb",
    "a\r\nb",
    "\t",
    "\u{85}",
    "\u{2028}",
    "\u{FEFF}",
    "\u{7F}",
    "\u{1}",
    "\u{FFFF}",
    "\u{E000}",
    "\u{1F980}",
    "$",
    "on",
    "y",
    "inf",
    "NaN",
    ".nan",
];

#[test]
fn what_init_writes_is_read_as_it_was() {
    let mut rng = fastrand::Rng::with_seed(7);
    let made = (0..5_000).map(|_| {
        let pieces = (0..rng.usize(1..5)).map(|_| HOSTILE[rng.usize(..HOSTILE.len())]);
        pieces.collect::<String>()
    });
    let made: Vec<String> = made.collect();
    let names = HOSTILE.iter().map(|it| (*it).to_owned()).chain(made);
    for name in names {
        let text = scalar(&name);
        assert_eq!(text.lines().count(), 1, "{name:?}: {text}");
        let yaml = format!("{text}: [{text}, {{{text}: {text}}}]\nlast: {text}\n");
        let read: serde_json::Value = serde_saphyr::from_str(&yaml)
            .unwrap_or_else(|error| panic!("{name:?}: {error}\n{yaml}"));
        let expected = serde_json::json!({&name: [&name, {&name: &name}], "last": &name});
        assert_eq!(read, expected, "{yaml}");
    }
}
