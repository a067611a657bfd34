//! Names in texts for people: on one line, no two alike, and valid for psql in a statement.

use fastrand::Rng;
use wal2graph::{
    catalog::{ForeignPartition, TableName, pasteable},
    envelope::EncodeError,
    kafka::encode::EncodingError,
    mapping::{EditRefusal, Named, Notice, Refusal, TranslateError, Warning, WhyLeftOut},
    neo4j::cypher,
    pipeline::CopyError,
    postgres::error::ReadError,
    shown::{Shown, is_unseen, on_one_line},
    start::{
        Again, Written, again,
        graph::{GraphRefusal, Holders, Obstacle},
        publication::PublicationRefusal,
        rights::RightsRefusal,
    },
};

use crate::names::{names, seeded};

/// The identifier at the front of a statement, and the rest, as PostgreSQL's scanner reads it.
fn identifier(sql: &str) -> Option<(String, &str)> {
    let (escaped, mut rest) = match sql.strip_prefix("U&\"") {
        Some(rest) => (true, rest),
        None => (false, sql.strip_prefix('"')?),
    };
    let mut name = String::new();
    loop {
        let character = rest.chars().next()?;
        rest = &rest[character.len_utf8()..];
        match character {
            '"' if rest.starts_with('"') => {
                name.push('"');
                rest = &rest[1..];
            }
            '"' => return Some((name, rest)),
            '\\' if escaped && rest.starts_with('\\') => {
                name.push('\\');
                rest = &rest[1..];
            }
            '\\' if escaped => {
                name.push(char::from_u32(u32::from_str_radix(rest.get(..4)?, 16).ok()?)?);
                rest = &rest[4..];
            }
            other => name.push(other),
        }
    }
}

fn table_of(sql: &str) -> Option<TableName> {
    let (schema, rest) = identifier(sql)?;
    let (name, _) = identifier(rest.strip_prefix('.')?)?;
    Some(TableName { schema, name })
}

/// Every text that names a table, a column or another object of the catalog, for these.
fn texts(table: &TableName, text: &str) -> Vec<String> {
    let table = || table.clone();
    let text = || text.to_owned();
    let mut texts = Vec::new();
    let mut say = |it: &dyn std::fmt::Display| texts.push(it.to_string());
    of_a_mapping(&table, &text, &mut say);
    of_a_stream(&table, &text, &mut say);
    of_a_start(&table, &text, &mut say);
    texts
}

type Say<'a> = &'a mut dyn FnMut(&dyn std::fmt::Display);

fn of_a_mapping(table: &dyn Fn() -> TableName, text: &dyn Fn() -> String, say: Say<'_>) {
    let key = || vec![text(), text()];
    let it = || "it".to_owned();
    for why in [
        WhyLeftOut::Skipped,
        WhyLeftOut::Excluded { pattern: text() },
        WhyLeftOut::Partition { root: table() },
        WhyLeftOut::PartitionOfLeftOut { root: table() },
        WhyLeftOut::NoKey { fix: it() },
        WhyLeftOut::Unlogged { table: table() },
        WhyLeftOut::ForeignPartition(ForeignPartition { name: table(), parent: table() }),
        WhyLeftOut::EndLeftOut { target: table() },
    ] {
        say(&why);
        say(&Refusal::Unusable { table: table(), why: why.clone() });
        say(&Warning::LeftOut { table: table(), why });
    }
    for refusal in [
        Refusal::UnknownTable { named_by: text(), table: text(), nearest: Some(text()) },
        Refusal::UnknownColumn { table: table(), column: text(), nearest: Some(text()) },
        EditRefusal::Pattern { pattern: text() }.into(),
        EditRefusal::UnknownReference { table: table(), name: text(), nearest: Some(text()) }
            .into(),
        EditRefusal::NoForeignKey { table: table(), name: text() }.into(),
        EditRefusal::SeveralForeignKeys { table: table(), name: text(), constraints: key() }.into(),
        EditRefusal::EndsUnknown { table: table() }.into(),
        Refusal::EditedPartition { table: table(), root: table() },
        Refusal::NodeAndRelationship { table: table() },
        Refusal::DeferrableKey { table: table(), constraint: text() },
        Refusal::IdentityNothing { table: table(), culprit: table() },
        Refusal::KeyIsNotIdentity { table: table(), key: key(), identity: it(), fix: it() },
        Refusal::PartitionKeyIsNotIdentity {
            table: table(),
            partition: table(),
            key: key(),
            identity: it(),
            fix: it(),
        },
        Refusal::UnloggedPartition { table: table(), partition: table() },
        Refusal::NondeterministicKey { table: table(), column: text() },
        Refusal::NondeterministicReference {
            table: table(),
            relationship_type: text(),
            culprit: table(),
            column: text(),
        },
        Refusal::Incomparable { table: table(), column: text(), needed_for: text(), cause: it() },
        Refusal::NoCommonForm {
            table: table(),
            relationship_type: text(),
            column: text(),
            column_type: text(),
            target: table(),
            target_column: text(),
            target_type: text(),
        },
        Refusal::EndOfOtherType {
            table: table(),
            column: text(),
            column_type: text(),
            target: table(),
            target_type: text(),
        },
        Refusal::PeriodReference {
            table: table(),
            relationship_type: text(),
            constraint: text(),
            target: table(),
        },
        Refusal::UniqueThroughPartitions {
            table: table(),
            relationship_type: text(),
            columns: key(),
        },
        Refusal::KeyThroughPartitions { table: table(), column: text() },
        Refusal::NotStreamed {
            table: table(),
            column: text(),
            cause: "it",
            needed_for: text(),
            fix: "it",
        },
        Refusal::ExcludedKey { table: table(), column: text() },
        Refusal::DuplicateLabel { label: text(), first: table(), second: table() },
        Refusal::DuplicateRelationship {
            table: table(),
            first_table: table(),
            start: text(),
            relationship_type: text(),
            end: text(),
            first: it(),
            second: it(),
        },
        Refusal::DuplicateProperty { table: table(), property: text(), first: it(), second: it() },
        Refusal::ReservedName { table: table(), what: Named::Label, name: text() },
        Refusal::EmptyName { table: table(), what: Named::Label, source_name: text() },
        Refusal::NulInName { table: table(), what: Named::Label, name: text() },
        Refusal::NullableEnd { table: table(), column: text() },
        Refusal::NoTarget {
            table: table(),
            relationship_type: text(),
            target: table(),
            cause: "it",
        },
        Refusal::TargetNotUnique {
            table: table(),
            relationship_type: text(),
            target: table(),
            columns: key(),
            key: key(),
        },
        Refusal::EndNotByKey {
            table: table(),
            relationship_type: text(),
            columns: key(),
            target: table(),
            key: key(),
        },
        Refusal::ColumnCount {
            table: table(),
            relationship_type: text(),
            columns: 3,
            target: table(),
            target_columns: 3,
        },
        Refusal::NotComparable {
            table: table(),
            relationship_type: text(),
            column: text(),
            target: table(),
            target_column: text(),
            cause: it(),
        },
        Refusal::FormNotApplicable {
            table: table(),
            column: text(),
            column_type: text(),
            form: "it",
        },
    ] {
        say(&refusal);
    }
    for warning in [
        Warning::ReferenceLeftOut { table: table(), constraint: text(), target: table() },
        Warning::JoinTableReference { table: table(), constraint: text() },
        Warning::SameForeignKey { table: table(), constraint: text(), same_as: text() },
        Warning::ReferenceOfPartition { table: table(), constraint: text(), root: table() },
        Warning::ReferenceNotStreamed { table: table(), constraint: text() },
        Warning::ReferencedNotStreamed {
            table: table(),
            constraint: text(),
            target: table(),
            column: text(),
        },
        Warning::PeriodReference { table: table(), constraint: text(), target: table() },
        Warning::ComparedInUtc {
            table: table(),
            column: text(),
            target: table(),
            target_column: text(),
        },
        Warning::ColumnNotStreamed { table: table(), column: text(), cause: "it" },
        Warning::RowFilter { table: table() },
        Warning::FitsNothing { list: "mapping.exclude", item: text() },
        Warning::Partitioned { table: table() },
        Warning::TextForm { table: table(), column: text(), column_type: text() },
    ] {
        say(&warning);
    }
}

fn of_a_stream(table: &dyn Fn() -> TableName, text: &dyn Fn() -> String, say: Say<'_>) {
    for notice in [
        Notice::UnmappedTable { table: table() },
        Notice::ExtraColumn { table: table(), column: text() },
        Notice::MissingColumn { table: table(), column: text() },
        Notice::TypeChanged { table: table(), column: text() },
        Notice::Fallback { table: table(), column: text(), count: 3 },
        Notice::NoTarget { table: table(), column: text(), count: 3 },
        Notice::PartlyUnchanged { table: table(), column: text(), count: 3 },
    ] {
        say(&notice);
    }
    for error in [
        TranslateError::KeyColumnMissing { table: table(), column: text() },
        TranslateError::KeyNotIdentity { table: table(), column: text() },
        TranslateError::Renamed { table: table(), renamed: table() },
        TranslateError::KeyIsNull { table: table(), column: text() },
        TranslateError::KeyNotSent { table: table(), column: text() },
        TranslateError::NoOldRow { table: table() },
        TranslateError::NoKey { table: table(), column: text() },
    ] {
        say(&error);
        say(&ReadError::Translate(error.clone()));
    }
    for error in [
        EncodeError::KeyNotSent { table: table(), column: text() },
        EncodeError::NoOldRow { table: table() },
    ] {
        say(&error);
    }
    say(&EncodingError::NoKey { table: table() });
    say(&ReadError::Columns { table: table(), expected: 1, found: 2 });
    let key = vec![text(), text()];
    let table = table().in_file();
    say(&CopyError::<ReadError, ReadError>::NotFound { table, key, rows: 1 });
}

fn of_a_start(table: &dyn Fn() -> TableName, text: &dyn Fn() -> String, say: Say<'_>) {
    let again = || Again::WithTopic {
        pipeline: "shop".to_owned(),
        labels: [text()].into(),
        topics: Written::One("shop".to_owned()),
        slot: "shop".to_owned(),
    };
    let roots = vec![table(), table()];
    for refusal in [
        PublicationRefusal::Gone { name: text(), again: again() },
        PublicationRefusal::Operations { name: text(), again: Some(Box::new(again())) },
        PublicationRefusal::NotViaRoot { name: text(), roots },
    ] {
        say(&refusal);
    }
    let tables = table().pasteable();
    for refusal in [
        RightsRefusal::Schema { role: text(), schema: text() },
        RightsRefusal::Read { role: text(), tables: tables.clone() },
        RightsRefusal::RowsHidden { role: text(), tables },
    ] {
        say(&refusal);
    }
    let needed = || again::pasteable_text(&cypher::quote(&text()));
    for obstacle in [
        Obstacle::Index { name: text(), quoted: needed() },
        Obstacle::NameTaken { name: text(), drop: needed(), needed: needed() },
        Obstacle::SharedValues {
            values: 3,
            properties: Shown(&text()).to_string(),
            of: Holders::Nodes(text()),
            needed: needed(),
        },
    ] {
        say(&GraphRefusal::Schema(obstacle));
    }
    say(&Holders::Relationships(text()));
    say(&GraphRefusal::HoldsRows(vec![(text(), 3)]));
    say(&GraphRefusal::SharedLabels(vec![(text(), "other".to_owned())]));
    say(&GraphRefusal::MappingChanged {
        what: vec!["public.a: the column \"a\" is gone".to_owned()],
        again: again(),
    });
}

#[test]
fn a_name_in_an_error_or_a_refusal_made_a_line_of_its_own() {
    let mut rng = seeded();
    let plain = texts(&TableName::new("s", "t"), "c");
    let all = names(&mut rng);
    for _ in 0..2_000 {
        let [schema, name, text] = [(); 3].map(|()| rng.choice(&all).unwrap().clone());
        let table = TableName { schema, name };
        for (hostile, plain) in texts(&table, &text).iter().zip(&plain) {
            assert_eq!(hostile.lines().count(), plain.lines().count(), "{hostile}");
            let unseen = hostile.find(|it| it != '\n' && is_unseen(it));
            assert_eq!(unseen, None, "{table:?}, {text:?}: {hostile:?}");
        }
    }
}

#[test]
fn a_statement_in_an_error_or_a_refusal_names_the_table_as_it_is_called() {
    let mut rng = seeded();
    let all = names(&mut rng);
    let mut statements = 0;
    for _ in 0..2_000 {
        let table = random_table(&mut rng, &all);
        for text in texts(&table, "c") {
            for statement in text.split("ALTER TABLE ").skip(1) {
                if !statement.starts_with("... ") {
                    assert_eq!(table_of(statement).as_ref(), Some(&table), "{text}");
                    statements += 1;
                }
            }
        }
    }
    assert!(statements > 10 * 2_000, "{statements}");
}

fn random_table(rng: &mut Rng, names: &[String]) -> TableName {
    let [schema, name] = [(); 2].map(|()| rng.choice(names).unwrap().clone());
    TableName { schema, name }
}

#[test]
fn an_identifier_that_is_pasted_is_on_one_line_and_the_name_it_was() {
    for name in names(&mut seeded()) {
        let text = pasteable(&name);
        assert!(!text.contains(is_unseen), "{text:?}");
        assert_eq!(identifier(&format!("{text} tail")), Some((name, " tail")));
    }
    assert_eq!(pasteable("orders"), "\"orders\"");
    assert_eq!(pasteable("a\n\"\\"), r#"U&"a\000A""\\""#);
}

#[test]
fn no_two_tables_are_shown_alike() {
    let mut rng = seeded();
    let all = names(&mut rng);
    let mut shown = std::collections::BTreeMap::new();
    for _ in 0..20_000 {
        let table = random_table(&mut rng, &all);
        let other = shown.insert(table.to_string(), table.clone());
        assert!(other.is_none_or(|other| other == table), "{table:?}");
    }
    assert_eq!(TableName::new("public", "orders").to_string(), "public.orders");
    assert_eq!(TableName::new("a.b", "c\n\\n").to_string(), r#""a.b".c\n\\n"#);
    assert_eq!(Shown("c\u{1b}[2J\u{202e}").to_string(), r"c\u{1b}[2J\u{202e}");
    assert_eq!(on_one_line("a\\\nb"), "a\\\\nb");
}
