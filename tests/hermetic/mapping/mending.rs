//! A file for tables that clash: `init` writes what has to be said for the rest to work.

use wal2graph::catalog::{ReplicaIdentity, Table};
use wal2graph::mapping::{Mapping, compile, mend, render_mended};

use super::catalogs::{TableExt, catalog, customers, edits, node, table};

/// What is written, and the mapping that it gives when it is read.
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
