//! Impossible mappings: every refusal once, each with its table, its cause and its fix.

use wal2graph::catalog::{Publication, ReplicaIdentity, Table, TableKind};
use wal2graph::mapping::{EditRefusal, Refusal, Warning};

use super::catalogs::{
    TableExt, columns, customers, edited, mapped, name, node, northwind, orders, refused, table,
    unique,
};

/// The only refusal. Checks that it names its table and ends in a fix.
#[track_caller]
fn only(tables: impl IntoIterator<Item = Table>, yaml: &str) -> Refusal {
    let refusals = refused(tables, yaml);
    let [refusal] = &refusals[..] else { panic!("{refusals:#?}") };
    let message = refusal.to_string();
    assert!(message.starts_with("public."), "{message}");
    refusal.clone()
}

macro_rules! assert_refused {
    ($tables:expr, $yaml:expr, $pattern:pat $(if $guard:expr)?, $fix:literal) => {
        let refusal = only($tables, $yaml);
        assert!(matches!(&refusal, $pattern $(if $guard)?), "{refusal:#?}");
        let message = refusal.to_string();
        assert!(message.contains($fix), "{message}");
    };
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let yaml = "{tables: {public.custmers: {label: C}}}";
    assert_refused!(
        [customers()],
        yaml,
        Refusal::UnknownTable { .. },
        r#"Did you mean "public.customers"?"#
    );
    let yaml = "{tables: {public.customers: {properties: {exclude: [nmae]}}}}";
    assert_refused!([customers()], yaml, Refusal::UnknownColumn { .. }, r#"Did you mean "name"?"#);
    let yaml = "{tables: {public.orders: {relationships: [{type: A, columns: [customer_id], to: public.costumers}]}}}";
    assert_refused!([customers(), orders()], yaml, Refusal::UnknownTable { named_by, .. } if named_by == "public.orders", "public.customers");
    let yaml = "{tables: {public.orders: {relationships: [{type: A, columns: [customerid], to: public.customers}]}}}";
    assert_refused!([customers(), orders()], yaml, Refusal::UnknownColumn { .. }, "customer_id");
}

#[test]
fn a_schema_that_both_have_is_no_likeness() {
    let yaml = "{tables: {public.items: {label: C}}}";
    assert_refused!(
        [customers()],
        yaml,
        Refusal::UnknownTable { nearest: None, .. },
        "Correct the name, or take it out"
    );
}

#[test]
fn a_table_that_is_named_without_its_schema_was_taken_for_another() {
    let tables = [customers(), orders(), table("order_items", "id int4").pk("id")];
    let refusals = refused(tables, "{tables: {orders: {label: O}}}");
    assert!(refusals[0].to_string().contains(r#"Did you mean "public.orders"?"#), "{refusals:?}");
}

/// A slip of the pen in `exclude` brought the table into the graph without a word.
#[test]
fn an_item_that_chooses_no_table_was_passed_over() {
    let yaml = "{defaults: {include: [public, sales], exclude: [public.custmers, 'public.*']}, \
        tables: {'auth.*': {skip: true}, 'public.cust*': {types: {balance: float}}}}";
    let warnings = edited([customers()], yaml).warnings;
    let idle = |warning: &Warning| match warning {
        Warning::FitsNothing { list, item } => Some(format!("{list} {item}")),
        _ => None,
    };
    let idle: Vec<String> = warnings.iter().filter_map(idle).collect();
    assert_eq!(idle, ["mapping.include sales", "mapping.exclude public.custmers", "tables auth.*"]);
}

#[test]
fn a_pattern_says_nothing_that_only_one_table_can_have() {
    for edit in [
        "{}",
        "{label: C}",
        "{skip: true, key: [id]}",
        "{properties: {include: [id]}}",
        "{relationships: {a: false}}",
        "{relationship: {}}",
    ] {
        let yaml = format!("{{tables: {{'public.c*': {edit}}}}}");
        assert_refused!(
            [customers()],
            &yaml,
            Refusal::Edit(EditRefusal::Pattern { .. }),
            "Name the table"
        );
    }
}

#[test]
fn a_suggestion_could_not_be_pasted_into_the_file() {
    let odd = table("a\u{2028}b", "id int4").pk("id");
    let yaml = r#"{tables: {"public.a\u2028c": {label: C}}}"#;
    assert_refused!(
        [odd],
        yaml,
        Refusal::UnknownTable { nearest: Some(_), .. },
        r#"Did you mean "public.a\u2028b"?"#
    );
}

#[test]
fn every_unknown_name_is_told_at_once() {
    let yaml = "{tables: {public.nothing: {}, public.customers: {key: [x], types: {y: float}}}}";
    assert_eq!(refused([customers()], yaml).len(), 3);
}

#[test]
fn a_foreign_key_that_only_a_partition_has_was_left_out_without_a_word() {
    let root = table("sales", "id int4, buyer_id int4").pk("id");
    let leaf = table("sales_1", "id int4, buyer_id int4").pk("id").fk("buyer_id", "buyers", "id");
    let root = root.with(|it| it.kind = TableKind::Partitioned);
    let leaf =
        leaf.with(|it| it.kind = TableKind::Partition { root: name("sales"), holds_rows: true });
    let buyers = table("buyers", "id int4").pk("id");
    let mapping = mapped([root, leaf, buyers]);
    let (table, constraint) = (name("sales_1"), "sales_1_buyer_id_fkey".to_owned());
    let told = Warning::ReferenceOfPartition { table, constraint, root: name("sales") };
    assert!(mapping.warnings.contains(&told), "{:?}", mapping.warnings);
}

#[test]
fn partitions_are_not_edited() {
    let root = table("sales", "id int4").pk("id").with(|it| it.kind = TableKind::Partitioned);
    let leaf = table("sales_1", "id int4").pk("id");
    let leaf =
        leaf.with(|it| it.kind = TableKind::Partition { root: name("sales"), holds_rows: true });
    let yaml = "{tables: {public.sales_1: {label: Sale1}}}";
    assert_refused!(
        [root, leaf],
        yaml,
        Refusal::EditedPartition { .. },
        "edit public.sales instead"
    );
}

#[test]
fn an_edited_table_without_a_key_is_refused_not_left_out() {
    let yaml = "{tables: {public.log: {label: Line}}}";
    assert_refused!(
        [table("log", "line text")],
        yaml,
        Refusal::Unusable { .. },
        "Add a primary key"
    );
}

#[test]
fn nodes_and_relationships_exclude_each_other() {
    let mut yaml =
        String::from("{tables: {public.order_details: {label: Line, relationship: {type: X, ");
    yaml += "from: {columns: [order_id], to: public.orders}, to: {columns: [product_id], to: public.products}}}}}";
    assert_refused!(northwind(), &yaml, Refusal::NodeAndRelationship { .. }, "keep one");
}

#[test]
fn a_deferrable_primary_key_is_refused() {
    let late =
        customers().with(|it| it.primary_key.as_mut().expect("it has one").immediate = false);
    assert_refused!(
        [late.clone()],
        "{}",
        Refusal::DeferrableKey { .. },
        "Make the key NOT DEFERRABLE"
    );
    let full = late.with(|it| it.replica_identity = ReplicaIdentity::Full);
    assert_refused!([full], "{}", Refusal::KeyIsNotIdentity { .. }, "immediate unique constraint");
}

#[test]
fn replica_identity_nothing_is_refused_of_a_partition_too() {
    let nothing = |table: Table| table.with(|it| it.replica_identity = ReplicaIdentity::Nothing);
    assert_refused!(
        [nothing(customers())],
        "{}",
        Refusal::IdentityNothing { .. },
        "REPLICA IDENTITY DEFAULT"
    );
    let root = table("sales", "id int4").pk("id").with(|it| it.kind = TableKind::Partitioned);
    let leaf = table("sales_1", "id int4").pk("id");
    let leaf =
        leaf.with(|it| it.kind = TableKind::Partition { root: name("sales"), holds_rows: true });
    assert_refused!(
        [root, nothing(leaf)],
        "{}",
        Refusal::IdentityNothing { .. },
        r#""sales_1" REPLICA IDENTITY DEFAULT"#
    );
}

#[test]
fn a_key_that_is_not_the_replica_identity_is_refused() {
    let emails = || {
        table("users", "id int4, email text!, nick text").pk("id").with(|it| {
            it.unique_keys.push(unique("users_email", "email"));
            it.unique_keys.push(unique("users_nick", "nick"));
        })
    };
    let key = |column: &str| format!("{{tables: {{public.users: {{key: [{column}]}}}}}}");
    assert_refused!([emails()], &key("email"), Refusal::KeyIsNotIdentity { .. }, "Use `key: [id]`");
    let by_index = || {
        emails().with(|it| {
            it.replica_identity =
                ReplicaIdentity::Index { name: "users_email".into(), columns: columns("email") };
        })
    };
    assert_refused!([by_index()], "{}", Refusal::KeyIsNotIdentity { .. }, "Use `key: [email]`");
    edited([by_index()], &key("email"));
    let full = || emails().with(|it| it.replica_identity = ReplicaIdentity::Full);
    edited([full()], &key("email"));
    assert_refused!([full()], &key("nick"), Refusal::KeyIsNotIdentity { .. }, "NOT NULL");
    assert_refused!([full()], &key("id, id"), Refusal::KeyIsNotIdentity { .. }, "Use as `key`");
    let partial = full().with(|it| it.unique_keys[0].partial = true);
    assert_refused!([partial], &key("email"), Refusal::KeyIsNotIdentity { .. }, "Use as `key`");
    let none = table("users", "id int4!");
    assert_refused!([none], &key("id"), Refusal::KeyIsNotIdentity { .. }, "Add a primary key");
}

/// `sales` by (id, region) with one partition, which has the rows but is not in the publication.
fn sales(leaf: impl FnOnce(&mut Table)) -> [Table; 2] {
    let table = |name| table(name, "id int4, region int4, code text!").pk("id, region");
    let root = table("sales").with(|it| it.kind = TableKind::Partitioned);
    let of_root = TableKind::Partition { root: name("sales"), holds_rows: true };
    [root, table("sales_1").with(|it| it.kind = of_root).with(leaf)]
}

#[test]
fn an_unlogged_partition_was_mapped_and_its_changes_never_came() {
    assert_refused!(
        sales(|it| it.logged = false),
        "{}",
        Refusal::UnloggedPartition { .. },
        r#"ALTER TABLE "public"."sales_1" SET LOGGED"#
    );
    // A table that is partitioned further has no rows.
    mapped(sales(|it| {
        it.logged = false;
        it.kind = TableKind::Partition { root: name("sales"), holds_rows: false };
    }));
}

#[test]
fn a_partition_whose_replica_identity_is_another_index_stopped_the_stream_for_good() {
    let by_code = |it: &mut Table| {
        it.unique_keys.push(unique("sales_1_code", "code"));
        it.replica_identity =
            ReplicaIdentity::Index { name: "sales_1_code".into(), columns: columns("code") };
    };
    assert_refused!(
        sales(by_code),
        "{}",
        Refusal::PartitionKeyIsNotIdentity { .. },
        r#"ALTER TABLE "public"."sales_1" REPLICA IDENTITY DEFAULT"#
    );
    // Its own identity counts, not the root's.
    let [root, leaf] = sales(by_code).map(|it| it.with(|it| it.unique_keys.clear()));
    let by_code = |table: Table| {
        let name = format!("{}_code", table.name.name);
        table.with(|it| {
            it.unique_keys.push(unique(&name, "code"));
            it.replica_identity = ReplicaIdentity::Index { name, columns: columns("code") };
        })
    };
    let key = "{tables: {public.sales: {key: [code]}}}";
    edited([by_code(root.clone()), by_code(leaf.clone())], key);
    let by_primary_key = by_code(leaf).with(|it| it.replica_identity = ReplicaIdentity::Default);
    assert_refused!(
        [by_code(root), by_primary_key],
        key,
        Refusal::PartitionKeyIsNotIdentity { .. },
        r#"ALTER TABLE "public"."sales_1" REPLICA IDENTITY USING INDEX "sales_1_code""#
    );
}

#[test]
fn every_row_of_a_partition_is_told_apart_by_a_full_identity() {
    mapped(sales(|it| it.replica_identity = ReplicaIdentity::Full));
}

#[test]
fn a_nondeterministic_key_is_refused() {
    let lax = customers().with(|it| it.columns[0].deterministic = false);
    assert_refused!([lax], "{}", Refusal::NondeterministicKey { .. }, "deterministic collation");
}

#[test]
fn a_reference_over_a_nondeterministic_collation_is_refused_from_either_side() {
    let mails = || {
        let users = table("users", "id int4, email text!").pk("id");
        let users = users.with(|it| it.unique_keys.push(unique("users_email", "email")));
        let logins = table("logins", "id int4, email text").pk("id").fk("email", "users", "email");
        [users, logins]
    };
    for lax in [0, 1] {
        let mut tables = mails();
        tables[lax].columns[1].deterministic = false;
        assert_refused!(
            tables,
            "{}",
            Refusal::NondeterministicReference { .. },
            "deterministic collation"
        );
        // The fix, word by word.
        let mut tables = mails();
        tables[lax].columns[1].deterministic = false;
        edited(tables, "{tables: {public.logins: {relationships: []}}}");
    }
}

#[test]
fn a_key_whose_equality_is_not_known_is_refused_unless_the_file_says_that_its_text_is_it() {
    for unknown in ["mystery", "tsquery"] {
        let odd = || table("odds", &format!("id {unknown}")).pk("id");
        assert_refused!([odd()], "{}", Refusal::Incomparable { .. }, "types: {id: string}");
        let mapping = edited([odd()], "{tables: {public.odds: {types: {id: string}}}}");
        assert_eq!(node(&mapping, "odds").key, ["id"]);
    }
}

#[test]
fn types_without_a_common_form_are_refused() {
    let times = table("times", "id timetz").pk("id");
    let owners = table("owners", "id int4, at time").pk("id").fk("at", "times", "id");
    assert_refused!(
        [times.clone(), owners.clone()],
        "{}",
        Refusal::NoCommonForm { .. },
        "one type"
    );
    edited([times, owners], "{tables: {public.owners: {relationships: []}}}");
}

#[test]
fn an_end_of_a_join_table_that_may_be_no_key_is_refused() {
    let join = || table("likes", "id int4, who text!, what int4!").pk("id");
    let likes = |label: &str| {
        format!(
            "{{tables: {{public.likes: {{relationship: {{type: LIKES, from: {{columns: [who], to: public.customers}}, \
             to: {{columns: [{label}], to: public.customers}}}}}}}}}}"
        )
    };
    assert_refused!(
        [customers(), join()],
        &likes("what"),
        Refusal::EndOfOtherType { .. },
        "`label`"
    );
}

#[test]
fn a_reference_with_a_period_is_refused_where_the_file_names_it() {
    let tables = || {
        let rooms = table("rooms", "id int4!, during daterange!").pk("id, during");
        let stays = table("stays", "id int4, room int4, during daterange").pk("id");
        let stays = stays.fk("room, during", "rooms", "id, during");
        [rooms, stays.with(|it| it.foreign_keys[0].period = true)]
    };
    let mapping = mapped(tables());
    assert_eq!(node(&mapping, "stays").references, []);
    let said: Vec<String> = mapping.warnings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|it| it.contains("PERIOD")), "{said:?}");
    let named = "{tables: {public.stays: {relationships: [{type: IN, columns: [room, during], to: public.rooms}]}}}";
    assert_refused!(tables(), named, Refusal::PeriodReference { .. }, "PERIOD");
}

#[test]
fn what_is_needed_must_be_streamed() {
    let listed = |names: &str| Publication { columns: Some(columns(names)), row_filter: None };
    let keyless = customers().with(|it| it.published = listed("name"));
    assert_refused!([keyless], "{}", Refusal::NotStreamed { needed_for, .. } if needed_for == "the key", "Publish the column");
    let narrow = orders().with(|it| it.published = listed("id, note"));
    let yaml = "{tables: {public.orders: {relationships: [{type: A, columns: [customer_id], to: public.customers}]}}}";
    assert_refused!(
        [customers(), narrow.clone()],
        yaml,
        Refusal::NotStreamed { .. },
        "relationship A needs it"
    );
    let yaml = "{tables: {public.orders: {properties: {include: [customer_id]}}}}";
    assert_refused!(
        [customers(), narrow],
        yaml,
        Refusal::NotStreamed { .. },
        "`properties` needs it"
    );
}

/// The graph can not compare what it does not have.
#[test]
fn a_reference_to_a_unique_column_that_is_not_streamed_panicked_at_its_first_row() {
    let target = table("g1", "id int4, code int4")
        .pk("id")
        .with(|it| it.unique_keys = vec![unique("g1_code_key", "code")]);
    let owner = table("g3", "id int4, ref int4").pk("id").fk("ref", "g1", "code");
    let listed = Publication { columns: Some(columns("id")), row_filter: None };
    let generated = target.clone().with(|it| it.columns[1].generated = true);
    for target in [generated, target.with(|it| it.published = listed)] {
        let mapping = mapped([target.clone(), owner.clone()]);
        assert_eq!(node(&mapping, "g3").references, []);
        let said: Vec<String> = mapping.warnings.iter().map(ToString::to_string).collect();
        let expected = "does not carry column \"code\" of public.g1, which it refers to";
        assert!(said.iter().any(|it| it.contains(expected)), "{said:?}");
        let named = "{tables: {public.g3: {relationships: [{type: R, columns: [ref], to: public.g1, to_columns: [code]}]}}}";
        assert_refused!(
            [target, owner.clone()],
            named,
            Refusal::NotStreamed { .. },
            "column \"code\""
        );
    }
}

#[test]
fn key_columns_are_not_excluded() {
    let yaml = "{tables: {public.customers: {properties: {exclude: [id]}}}}";
    assert_refused!(
        [customers()],
        yaml,
        Refusal::ExcludedKey { .. },
        "Take that out of `properties`"
    );
}

#[test]
fn a_label_belongs_to_one_table() {
    let people = || table("people", "id int4").pk("id");
    let person = || table("person", "id int4").pk("id");
    assert_refused!([people(), person()], "{}", Refusal::DuplicateLabel { .. }, "another `label`");
    let yaml = "{tables: {public.customers: {labels: [Person]}}}";
    assert_refused!(
        [people(), customers()],
        yaml,
        Refusal::DuplicateLabel { .. },
        "another `label`"
    );
    let yaml = "{tables: {public.customers: {labels: [Party]}, public.people: {labels: [Party]}}}";
    edited([people(), customers()], yaml);
}

#[test]
fn a_relationship_belongs_to_one_source() {
    let yaml = "{tables: {public.orders: {relationships: [
        {type: A, columns: [customer_id], to: public.customers},
        {type: A, columns: [id], to: public.customers}]}}}";
    let Refusal::DuplicateRelationship { first, second, .. } = only([customers(), orders()], yaml)
    else {
        panic!("another refusal");
    };
    assert_eq!([first, second], ["public.orders (customer_id)", "public.orders (id)"]);
    let opposite =
        yaml.replacen("to: public.customers}", "to: public.customers, direction: in}", 1);
    edited([customers(), orders()], &opposite);
}

#[test]
fn a_property_is_one_column() {
    let yaml = "{tables: {public.customers: {properties: {rename: {name: id}}}}}";
    assert_refused!([customers()], yaml, Refusal::DuplicateProperty { .. }, "rename");
}

#[test]
fn names_with_an_underscore_in_front_are_our_own() {
    let hidden = table("hidden", "id int4, _note text").pk("id");
    assert_refused!([hidden], "{}", Refusal::ReservedName { name, .. } if name == "_note", "rename");
    for yaml in [
        "{tables: {public.customers: {label: _C}}}",
        "{tables: {public.customers: {labels: [_C]}}}",
        "{tables: {public.customers: {relationships: [{type: _A, columns: [id], to: public.customers}]}}}",
    ] {
        assert_refused!([customers()], yaml, Refusal::ReservedName { .. }, "another");
    }
}

#[test]
fn a_name_without_letters_needs_another() {
    assert_refused!([table("!!!", "id int4").pk("id")], "{}", Refusal::EmptyName { .. }, "`label`");
    let yaml = "{tables: {public.customers: {properties: {rename: {name: ''}}}}}";
    assert_refused!([customers()], yaml, Refusal::EmptyName { .. }, "rename");
}

#[test]
fn a_name_that_neo4j_can_not_have_was_found_out_by_run() {
    for yaml in [
        r#"{tables: {public.customers: {label: "A\0B"}}}"#,
        r#"{tables: {public.customers: {labels: ["A\0"]}}}"#,
        r#"{tables: {public.customers: {properties: {rename: {name: "\0"}}}}}"#,
    ] {
        assert_refused!([customers()], yaml, Refusal::NulInName { .. }, "NUL");
    }
}

const LINKS: &str = "{tables: {public.links: {relationship: {type: LINK,
    from: {columns: [a], to: public.customers}, to: {columns: [b], to: public.customers}}}}}";

#[test]
fn the_ends_of_a_relationship_are_always_there() {
    let links = table("links", "id int4, a int4!, b int4").pk("id");
    assert_refused!([customers(), links], LINKS, Refusal::NullableEnd { column, .. } if column == "b", "NOT NULL");
}

#[test]
fn the_ends_of_a_relationship_are_keys() {
    let named = customers().with(|it| it.unique_keys.push(unique("customers_name", "name")));
    let links = table("links", "id int4, a text!, b int4!").pk("id");
    let yaml =
        LINKS.replacen("to: public.customers}", "to: public.customers, to_columns: [name]}", 1);
    assert_refused!([named, links], &yaml, Refusal::EndNotByKey { .. }, "make it nodes");
}

#[test]
fn a_reference_leads_to_nodes() {
    let yaml = "{tables: {public.customers: {skip: true},
        public.orders: {relationships: [{type: A, columns: [customer_id], to: public.customers}]}}}";
    assert_refused!(
        [customers(), orders()],
        yaml,
        Refusal::NoTarget { cause: "is left out", .. },
        "set the relationship to `false`"
    );
    let links = table("links", "id int4, a int4!, b int4!").pk("id");
    let yaml = LINKS.replacen(
        "{tables: {",
        "{tables: {public.orders: {relationships: [{type: A, columns: [id], to: public.links}]}, ",
        1,
    );
    assert_refused!(
        [customers(), orders(), links],
        &yaml,
        Refusal::NoTarget { cause: "is a relationship itself", .. },
        "as nodes"
    );
}

#[test]
fn a_reference_finds_one_row() {
    let yaml = "{tables: {public.orders: {relationships: [{type: A, columns: [note], to: public.customers, to_columns: [name]}]}}}";
    assert_refused!(
        [customers(), orders()],
        yaml,
        Refusal::TargetNotUnique { .. },
        "immediate unique constraint"
    );
    let late = customers().with(|it| {
        it.unique_keys.push(unique("customers_name", "name"));
        it.unique_keys[0].immediate = false;
    });
    assert_refused!([late, orders()], yaml, Refusal::TargetNotUnique { .. }, "to_columns");
}

#[test]
fn both_sides_of_a_reference_have_as_many_columns() {
    let yaml = "{tables: {public.orders: {relationships: [{type: A, columns: [id, note], to: public.customers}]}}}";
    assert_refused!(
        [customers(), orders()],
        yaml,
        Refusal::ColumnCount { columns: 2, target_columns: 1, .. },
        "same order"
    );
}

#[test]
fn compared_columns_are_properties() {
    let named = || customers().with(|it| it.unique_keys.push(unique("customers_name", "name")));
    let reference =
        "relationships: [{type: A, columns: [note], to: public.customers, to_columns: [name]}]";
    let yaml =
        format!("{{tables: {{public.orders: {{properties: {{exclude: [note]}}, {reference}}}}}}}");
    assert_refused!([named(), orders()], &yaml, Refusal::NotComparable { .. }, "Map both columns");
    let yaml = format!(
        "{{tables: {{public.customers: {{properties: {{exclude: [name]}}}}, public.orders: {{{reference}}}}}}}"
    );
    assert_refused!([named(), orders()], &yaml, Refusal::NotComparable { .. }, "Map both columns");
}

#[test]
fn a_form_fits_the_columns_type() {
    let yaml = "{tables: {public.customers: {types: {name: float}}}}";
    assert_refused!(
        [customers()],
        yaml,
        Refusal::FormNotApplicable { form: "float", .. },
        "`types`"
    );
}
