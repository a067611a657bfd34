//! The result of inference without a file, and the effects of a file.

use wal2graph::catalog::{ForeignPartition, Publication, ReplicaIdentity, TableKind};
use wal2graph::graph::model::{Direction, ReferenceBy, RelationshipKey};
use wal2graph::mapping::{Mapping, Refusal, Warning, WhyLeftOut, compile};
use wal2graph::value::{NumericMode, Type};

use super::catalogs::{
    TableExt, catalog, columns, customers, edited, edits, mapped, name, node, northwind,
    relationship, table, unique,
};

/// A table, its columns that refer to `targets`, and the expected type.
fn types_of(mapping: &Mapping, table: &str) -> Vec<String> {
    node(mapping, table).references.iter().map(|it| it.relationship_type.clone()).collect()
}

#[test]
fn labels_are_singular_upper_camel_case() {
    let cases = [
        ("order_items", "OrderItem"),
        ("categories", "Category"),
        ("statuses", "Status"),
        ("status", "Status"),
        ("people", "Person"),
        ("address", "Address"),
        ("addresses", "Address"),
        ("boxes", "Box"),
        ("houses", "House"),
        ("cases", "Case"),
        ("databases", "Database"),
        ("movies", "Movie"),
        ("ties", "Tie"),
        ("indices", "Index"),
        ("news", "News"),
        ("series", "Series"),
        ("metadata", "Metadata"),
        ("caches", "Cache"),
        ("matches", "Match"),
        ("OrderItems", "OrderItem"),
        ("Order Details", "OrderDetail"),
        ("ORDER_ITEMS", "OrderItem"),
        ("APIKeys", "APIKey"),
        ("us_states", "UsState"),
        ("straßen", "Straßen"),
        ("2024_sales", "2024Sale"),
        ("bus", "Bus"),
        ("photos", "Photo"),
        ("heroes", "Hero"),
    ];
    for (given, label) in cases {
        let mapping = mapped([table(given, "id int4").pk("id")]);
        assert_eq!(node(&mapping, given).label, label, "{given}");
    }
}

#[test]
fn relationship_types_come_from_the_column() {
    let cases = [
        ("customer_id", "CUSTOMER"),
        ("reports_to", "REPORTS_TO"),
        ("customerId", "CUSTOMER"),
        ("customerID", "CUSTOMER"),
        ("CUSTOMER_ID", "CUSTOMER"),
        ("bid", "BID"),
        ("paid", "PAID"),
        ("id_card", "ID_CARD"),
        ("billing address id", "BILLING_ADDRESS"),
        ("_id", "TARGET"),
    ];
    for (column, expected) in cases {
        let owner = table("owners", &format!("pk int4, {column} int4"));
        let owner = owner.pk("pk").fk(column, "targets", "id");
        let yaml = if column == "_id" {
            "{tables: {public.owners: {properties: {rename: {_id: x}}}}}"
        } else {
            "{}"
        };
        let mapping = edited([owner, table("targets", "id int4").pk("id")], yaml);
        assert_eq!(types_of(&mapping, "owners"), [expected], "{column}");
    }
}

#[test]
fn northwind_is_what_one_expects() {
    let mapping = mapped(northwind());
    assert_eq!(mapping.warnings, []);

    let product = node(&mapping, "products");
    assert_eq!(product.label, "Product");
    assert_eq!(product.key, ["product_id"]);
    assert_eq!(product.properties, ["product_name", "supplier_id", "category_id", "unit_price"]);
    assert_eq!(types_of(&mapping, "products"), ["CATEGORY", "SUPPLIER"]);
    assert!(product.references.iter().all(|it| it.by == ReferenceBy::Key));
    assert!(product.references.iter().all(|it| it.direction == Direction::Outgoing));
    assert_eq!(types_of(&mapping, "orders"), ["CUSTOMER", "EMPLOYEE", "SHIP_VIA"]);
    assert_eq!(types_of(&mapping, "employees"), ["REPORTS_TO"]);
    assert_eq!(node(&mapping, "territories").label, "Territory");

    let details = relationship(&mapping, "order_details");
    assert_eq!(details.relationship_type, "ORDER_DETAILS");
    assert_eq!(mapping.model.node(details.from).label, "Order");
    assert_eq!(mapping.model.node(details.to).label, "Product");
    assert_eq!(details.key, RelationshipKey::Ends);
    assert_eq!(details.properties, ["unit_price", "quantity"]);
    assert_eq!(relationship(&mapping, "employee_territories").properties, [""; 0]);
    assert_eq!(mapping.published_tables().count(), 11);
}

#[test]
fn a_composite_foreign_key_is_named_after_its_target_and_ordered_by_its_key() {
    let lines = table("order_lines", "order_id int4!, line int4!").pk("order_id, line");
    let owner = table("shipments", "id int4, l int4, o int4").pk("id").fk(
        "l, o",
        "order_lines",
        "line, order_id",
    );
    let mapping = mapped([lines, owner]);
    assert_eq!(types_of(&mapping, "shipments"), ["ORDER_LINE"]);
    let plan = &mapping.tables[1];
    let read: Vec<&str> =
        plan.references[0].slots.iter().map(|slot| plan.column(slot).name.as_str()).collect();
    assert_eq!(read, ["o", "l"]);
}

#[test]
fn types_that_would_clash_are_told_apart_by_their_columns() {
    let owner = table("games", "id int4, team int4, team_id int4, home_id int4");
    let owner = owner
        .pk("id")
        .fk("team", "teams", "id")
        .fk("team_id", "teams", "id")
        .fk("home_id", "teams", "id");
    let mapping = mapped([owner, table("teams", "id int4").pk("id")]);
    assert_eq!(types_of(&mapping, "games"), ["TEAM", "TEAM_ID", "HOME"]);
}

#[test]
fn the_same_constraint_twice_is_one_relationship() {
    let owner = table("orders", "id int4, customer_id int4").pk("id");
    let owner = owner.fk("customer_id", "customers", "id").fk("customer_id", "customers", "id");
    let mapping = mapped([owner, table("customers", "id int4").pk("id")]);
    assert_eq!(types_of(&mapping, "orders"), ["CUSTOMER"]);
}

#[test]
fn a_table_that_is_referred_to_is_no_join_table() {
    let mut tables = northwind();
    tables.push(table("returns", "id int4, order_id int2, product_id int2").pk("id").fk(
        "order_id, product_id",
        "order_details",
        "order_id, product_id",
    ));
    let mapping = mapped(tables);
    assert_eq!(node(&mapping, "order_details").key, ["order_id", "product_id"]);
    assert_eq!(types_of(&mapping, "order_details"), ["ORDER", "PRODUCT"]);
    assert_eq!(types_of(&mapping, "returns"), ["ORDER_DETAIL"]);
}

#[test]
fn a_join_table_may_share_a_tenant_between_its_ends_and_join_a_table_with_itself() {
    let tenants = [
        table("users", "tenant int4!, id int4!").pk("tenant, id"),
        table("groups", "tenant int4!, id int4!").pk("tenant, id"),
        table("members", "tenant int4!, user_id int4!, group_id int4!")
            .pk("tenant, user_id, group_id")
            .fk("tenant, group_id", "groups", "tenant, id")
            .fk("tenant, user_id", "users", "tenant, id"),
    ];
    let mapping = mapped(tenants);
    let join = relationship(&mapping, "members");
    assert_eq!(
        mapping.model.node(join.from).label,
        "User",
        "primary key order, not the constraints'"
    );

    let friends = table("friends", "a int4!, b int4!")
        .pk("a, b")
        .fk("a", "users", "id")
        .fk("b", "users", "id");
    let mapping = mapped([table("users", "id int4").pk("id"), friends]);
    let join = relationship(&mapping, "friends");
    assert_eq!(join.from, join.to);
}

#[test]
fn three_foreign_keys_or_a_further_key_column_make_no_join_table() {
    let target = || table("targets", "id int4").pk("id");
    let three = table("three", "a int4!, b int4!, c int4!").pk("a, b, c");
    let three = three.fk("a", "targets", "id").fk("b", "targets", "id").fk("c", "targets", "id");
    assert_eq!(types_of(&mapped([target(), three]), "three"), ["A", "B", "C"]);
    let more = table("more", "a int4!, b int4!, day date!").pk("a, b, day");
    let more = more.fk("a", "targets", "id").fk("b", "targets", "id");
    assert_eq!(types_of(&mapped([target(), more]), "more"), ["A", "B"]);
}

#[test]
fn a_foreign_key_beside_a_join_tables_ends_is_warned_of() {
    let mut tables = northwind();
    let details =
        tables.iter_mut().find(|it| it.name == name("order_details")).expect("it is there");
    *details = details.clone().fk("quantity", "region", "region_id");
    let warnings = mapped(tables).warnings;
    assert!(
        matches!(&warnings[..], [Warning::JoinTableReference { constraint, .. }] if constraint == "order_details_quantity_fkey"),
        "{warnings:?}"
    );
}

#[test]
fn one_name_in_two_schemas_gets_two_labels() {
    let tables = ["public.customers", "sales.customers", "crm_eu.customers", "crm_eu.leads"];
    let mapping = mapped(tables.map(|it| table(it, "id int4").pk("id")));
    let labels = tables.map(|it| node(&mapping, it).label.clone());
    assert_eq!(labels, ["Customer", "SalesCustomer", "CrmEuCustomer", "Lead"]);
}

#[test]
fn tables_without_a_usable_key_are_left_out_with_what_to_do() {
    let log = table("log", "line text");
    let indexed = table("indexed", "a int4!, b text");
    let indexed = indexed.with(|it| it.unique_keys.push(unique("indexed_a", "a")));
    let unlogged = table("unlogged", "id int4").pk("id").with(|it| it.logged = false);
    let referring = table("referring", "id int4, log_id int4").pk("id").fk("log_id", "log", "line");
    let mapping = mapped([log, indexed, unlogged, referring]);
    assert_eq!(mapping.published_tables().count(), 1);
    let messages: Vec<String> = mapping.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(messages.len(), 4, "{messages:#?}");
    assert!(messages[0].starts_with("public.indexed is left out: it has no primary key"));
    assert!(
        messages[0]
            .contains(r#"ALTER TABLE "public"."indexed" REPLICA IDENTITY USING INDEX "indexed_a""#)
    );
    assert!(messages[1].starts_with("public.log is left out: it has no primary key"));
    assert!(messages[1].ends_with("Add a primary key"));
    assert!(messages[2].contains("referring_log_id_fkey is no relationship, because public.log"));
    assert!(messages[3].contains("SET LOGGED"));
}

#[test]
fn a_table_with_a_partition_on_another_server_was_told_to_add_a_primary_key_which_it_can_not_have()
{
    let foreign = ForeignPartition { name: name("far"), parent: name("mixed") };
    let mixed = table("mixed", "id int4!, b text").with(|it| {
        it.kind = TableKind::Partitioned;
        it.foreign_partition = Some(foreign.clone());
    });
    let mapping = mapped([mixed.clone(), customers()]);
    let left_out = mapping.warnings[0].to_string();
    assert!(
        left_out.contains(r#"ALTER TABLE "public"."mixed" DETACH PARTITION "public"."far""#),
        "{left_out}"
    );
    let named = edits("{tables: {public.mixed: {key: [id]}}}");
    let refusals = compile(&catalog([mixed, customers()]), &named).unwrap_err();
    assert!(matches!(refusals[..], [Refusal::Unusable { .. }]), "{refusals:?}");
}

#[test]
fn another_replica_identity_can_make_a_table_usable() {
    let index = table("by_index", "a int4!, b text!").with(|it| {
        it.unique_keys.push(unique("by_index_b", "b"));
        it.replica_identity =
            ReplicaIdentity::Index { name: "by_index_b".into(), columns: columns("b") };
    });
    let full = table("by_full", "a int4, b text!").with(|it| {
        it.unique_keys.push(unique("by_full_a", "a"));
        it.unique_keys.push(unique("by_full_b", "b"));
        it.replica_identity = ReplicaIdentity::Full;
    });
    let mapping = mapped([index, full]);
    assert_eq!(node(&mapping, "by_index").key, ["b"]);
    assert_eq!(node(&mapping, "by_full").key, ["b"], "a may be NULL");
}

#[test]
fn partitions_are_their_roots() {
    let root =
        table("sales", "id int4, at date").pk("id").with(|it| it.kind = TableKind::Partitioned);
    let leaf = table("sales_2024", "id int4, at date").pk("id");
    let leaf =
        leaf.with(|it| it.kind = TableKind::Partition { root: name("sales"), holds_rows: true });
    let mapping = mapped([root, leaf]);
    assert_eq!(mapping.published_tables().collect::<Vec<_>>(), [&name("sales")]);
    let why = WhyLeftOut::Partition { root: name("sales") };
    assert!(mapping.warnings.contains(&Warning::LeftOut { table: name("sales_2024"), why }));
    assert!(mapping.warnings.contains(&Warning::Partitioned { table: name("sales") }));
}

#[test]
fn a_partition_of_a_table_that_is_left_out_was_said_to_come_as_that() {
    let root = table("sales", "id int4").with(|it| it.kind = TableKind::Partitioned);
    let of_root = TableKind::Partition { root: name("sales"), holds_rows: true };
    let leaf = table("sales_2024", "id int4").with(|it| it.kind = of_root);
    let warnings = mapped([root, leaf]).warnings;
    let said: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    let expected = "public.sales_2024 is left out: it is a partition of public.sales, which is left out itself";
    assert!(said.iter().any(|it| it == expected), "{said:?}");
}

#[test]
fn what_the_stream_does_not_carry_is_no_property() {
    let made =
        table("items", "id int4, total numeric").pk("id").with(|it| it.columns[1].generated = true);
    let mapping = mapped([made.clone()]);
    assert!(node(&mapping, "items").properties.is_empty());
    assert!(
        matches!(&mapping.warnings[..], [Warning::ColumnNotStreamed { column, .. }] if column == "total")
    );
    // PostgreSQL 18 can publish it.
    let published = Publication { columns: Some(columns("id, total")), row_filter: None };
    let mapping = mapped([made.with(|it| it.published = published)]);
    assert_eq!(node(&mapping, "items").properties, ["total"]);
}

#[test]
fn a_foreign_key_to_unique_columns_compares_properties() {
    let users = table("users", "id int4, email text").pk("id");
    let users = users.with(|it| it.unique_keys.push(unique("users_email", "email")));
    let posts = table("posts", "id int4, author text").pk("id").fk("author", "users", "email");
    let yaml = "{tables: {public.users: {properties: {rename: {email: mail}}}}}";
    let mapping = edited([users, posts], yaml);
    let by = &node(&mapping, "posts").references[0].by;
    let (owner_properties, target_properties) = (columns("author"), columns("mail"));
    assert_eq!(*by, ReferenceBy::Unique { owner_properties, target_properties });
}

#[test]
fn a_file_changes_what_it_names_and_nothing_else() {
    let yaml = "
defaults: {numeric: float}
tables:
  public.products:
    label: Article
    labels: [Sellable]
    properties: {exclude: [supplier_id], rename: {product_name: name}}
    types: {unit_price: auto}
    relationships:
      - {type: SUPPLIES, columns: [supplier_id], to: public.suppliers, direction: in}
      - {type: LIKES, columns: [product_name], to: public.customers}
  public.employee_territories: {label: Assignment}
  public.categories: {skip: true}
";
    let mapping = edited(northwind(), yaml);
    let product = node(&mapping, "products");
    assert_eq!(
        (product.label.as_str(), &product.extra_labels[..]),
        ("Article", &["Sellable".to_owned()][..])
    );
    assert_eq!(product.properties, ["name", "category_id", "unit_price"]);
    let [supplies, likes] = &product.references[..] else { panic!("{:?}", product.references) };
    assert_eq!(supplies.direction, Direction::Incoming);
    assert_eq!(likes.direction, Direction::Outgoing);
    let numeric = |table: &str, column: &str| {
        let index = mapping.table_index("public", table).expect("mapped");
        let mut columns = mapping.columns(index).columns.iter();
        columns.find(|it| it.name == column).expect("read").value_type.clone()
    };
    assert_eq!(numeric("products", "unit_price"), Type::Numeric(NumericMode::Auto));
    assert_eq!(numeric("order_details", "unit_price"), Type::Numeric(NumericMode::Float));
    assert_eq!(node(&mapping, "employee_territories").label, "Assignment");
    assert!(mapping.table_index("public", "categories").is_none());
    assert_eq!(types_of(&mapping, "orders"), ["CUSTOMER", "EMPLOYEE", "SHIP_VIA"]);
}

#[test]
fn a_pattern_skips_the_tables_that_no_key_names() {
    let odd = table("a*", "id int4").pk("id");
    let tables = ["logs", "log_items", "a", "ab"].map(|name| table(name, "id int4").pk("id"));
    let yaml = "
tables:
  'public.log*': {skip: true}
  public.log_items: {label: Item}
  '*.none*': {skip: true}
  'public.a*': {label: Star}
";
    // A table of this name makes no pattern of it.
    let mapping = edited(tables.into_iter().chain([odd]), yaml);
    assert!(mapping.table_index("public", "logs").is_none());
    assert_eq!(node(&mapping, "log_items").label, "Item");
    assert_eq!(node(&mapping, "a*").label, "Star");
    assert_eq!(node(&mapping, "ab").label, "Ab");
}

#[test]
fn a_join_table_with_a_surrogate_key_keeps_it_on_the_relationship() {
    let tables = [
        table("orders", "id int4").pk("id"),
        table("products", "id int4").pk("id"),
        table("order_items", "id int8, order_id int4!, product_id int4!, amount int4")
            .pk("id")
            .fk("order_id", "orders", "id")
            .fk("product_id", "products", "id"),
    ];
    let yaml = "
tables:
  public.order_items:
    relationship:
      type: CONTAINS
      from: {columns: [order_id], to: public.orders}
      to: {columns: [product_id], to: public.products}
";
    let mapping = edited(tables, yaml);
    let join = relationship(&mapping, "order_items");
    assert_eq!(join.relationship_type, "CONTAINS");
    assert_eq!(join.key, RelationshipKey::Own(columns("id")));
    assert_eq!(join.properties, ["amount"]);
}

#[test]
fn foreign_key_columns_can_be_left_off_the_nodes() {
    let mapping = edited(northwind(), "{defaults: {foreign_key_properties: false}}");
    assert_eq!(node(&mapping, "products").properties, ["product_name", "unit_price"]);
    assert_eq!(types_of(&mapping, "products"), ["CATEGORY", "SUPPLIER"]);
}

#[test]
fn foreign_key_columns_that_unique_references_compare_stay() {
    let off = "{defaults: {foreign_key_properties: false}}";
    // From the target's side: profiles.user_id is a foreign key, and settings refer to it.
    let users = table("users", "id int4").pk("id");
    let profiles =
        table("profiles", "id int4, user_id int4!").pk("id").fk("user_id", "users", "id");
    let profiles = profiles.with(|it| it.unique_keys.push(unique("profiles_user", "user_id")));
    let settings =
        table("settings", "id int4, user_id int4!").pk("id").fk("user_id", "profiles", "user_id");
    let mapping = edited([users.clone(), profiles, settings], off);
    assert_eq!(node(&mapping, "profiles").properties, ["user_id"]);
    assert_eq!(node(&mapping, "settings").properties, ["user_id"]);
    // From the owner's side: one column refers to a key and to a unique column.
    let numbered = table("profiles", "id int4, user_no int4").pk("id");
    let numbered = numbered.with(|it| it.unique_keys.push(unique("profiles_no", "user_no")));
    let prefs = table("prefs", "id int4, user_id int4!").pk("id");
    let yaml =
        "{defaults: {foreign_key_properties: false}, tables: {public.prefs: {relationships: [
        {type: USER, columns: [user_id], to: public.users},
        {type: PROFILE, columns: [user_id], to: public.profiles, to_columns: [user_no]}]}}}";
    let mapping = edited([users, numbered, prefs], yaml);
    assert_eq!(node(&mapping, "prefs").properties, ["user_id"]);
}

#[test]
fn a_value_that_is_referred_to_stays_in_the_property_of_its_name() {
    let users = table("users", "id int4, code numeric!").pk("id");
    let users = users.with(|it| it.unique_keys.push(unique("users_code", "code")));
    let logins = table("logins", "id int4, code numeric").pk("id").fk("code", "users", "code");
    let alone = mapped([users.clone()]);
    assert_eq!(node(&alone, "users").properties, ["code"]);
    let mapping = mapped([users, logins]);
    assert_eq!(node(&mapping, "users").properties, ["code", "_key_code"]);
    assert_eq!(node(&mapping, "logins").properties, ["code", "_key_code"]);
    let ReferenceBy::Unique { owner_properties, target_properties } =
        &node(&mapping, "logins").references[0].by
    else {
        panic!("by the unique column")
    };
    assert_eq!([&owner_properties[0], &target_properties[0]], ["_key_code", "_key_code"]);
    assert_eq!(mapping.tables[1].columns[1].property, "code");
}

#[test]
fn a_key_that_does_not_compare_as_it_is_has_a_property_that_does() {
    let amounts = table("amounts", "amount numeric, note text").pk("amount");
    let mapping =
        edited([amounts], "{tables: {public.amounts: {properties: {rename: {amount: sum}}}}}");
    let amount = node(&mapping, "amounts");
    assert_eq!(
        (&amount.key[..], &amount.properties[..]),
        (&["_key_sum".to_owned()][..], &["sum".to_owned(), "note".to_owned()][..])
    );
    let whole = table("wholes", "id numeric").pk("id");
    let whole = whole.with(|it| it.columns[0].type_modifier = (10 << 16) + 4);
    assert_eq!(node(&mapped([whole]), "wholes").key, ["id"], "numeric(10, 0) has one text a value");
    let cents = table("cents", "id numeric").pk("id");
    let cents = cents.with(|it| it.columns[0].type_modifier = (10 << 16) + 2 + 4);
    assert_eq!(node(&mapped([cents]), "cents").key, ["_key_id"]);
}

#[test]
fn a_time_zone_that_decides_is_a_warning() {
    let days = table("days", "id date").pk("id");
    let owners = table("owners", "id int4, at timestamptz").pk("id");
    let yaml =
        "{tables: {public.owners: {relationships: [{type: ON, columns: [at], to: public.days}]}}}";
    let mapping = edited([days, owners], yaml);
    let said: Vec<String> = mapping.warnings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|it| it.contains("UTC")), "{said:?}");
}

#[test]
fn a_clash_between_a_join_table_and_a_foreign_key_is_resolved_by_the_columns() {
    let tables = [
        table("a", "id int4, b_id int4").pk("id").fk("b_id", "bs", "id"),
        table("bs", "id int4").pk("id"),
        table("b", "x int4!, y int4!").pk("x, y").fk("x", "a", "id").fk("y", "bs", "id"),
    ];
    let mapping = mapped(tables);
    assert_eq!(types_of(&mapping, "a"), ["B_ID"]);
    assert_eq!(relationship(&mapping, "b").relationship_type, "B");
}

#[test]
fn columns_that_a_file_pairs_in_another_order_are_put_in_the_keys() {
    let lines = table("order_lines", "order_id int4!, line int4!").pk("order_id, line");
    let notes = table("notes", "id int4, l int4!, o int4!").pk("id");
    let pairs = "columns: [l, o], to: public.order_lines, to_columns: [line, order_id]";
    let reference = format!("relationships: [{{type: ON, {pairs}}}]");
    let join = format!("relationship: {{type: ON, from: {{{pairs}}}, to: {{{pairs}}}}}");
    for edit in [reference, join] {
        let yaml = format!("{{tables: {{public.notes: {{{edit}}}}}}}");
        let mapping = edited([lines.clone(), notes.clone()], &yaml);
        let plan = &mapping.tables[0];
        for reference in &plan.references {
            let read = reference.slots.iter().map(|slot| plan.column(slot).name.as_str());
            assert_eq!(read.collect::<Vec<_>>(), ["o", "l"], "{edit}");
        }
    }
}
