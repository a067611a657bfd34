//! The catalog of real databases: what is read of it, and the mapping that comes out.

use tokio_postgres::Client;
use wal2graph::catalog::{
    Catalog, Publication, ReferentialAction, ReplicaIdentity, Table, TableKind, TableName,
    quote_identifier,
};
use wal2graph::graph::model::{RelationshipKey, Shape};
use wal2graph::mapping::{Edits, Mapping, Plan, Warning, compile, render_yaml};
use wal2graph::postgres::catalog::read;
use wal2graph::value::{Type, TypeKind};

/// A new database with `sql` in it, and its catalog.
async fn catalog_of(database: &str, sql: &str, publication: Option<&str>) -> Catalog {
    let mut client = new_database(database).await;
    client.batch_execute(sql).await.expect("the schema is made");
    read(&mut client, publication).await.expect("the catalog is read")
}

async fn new_database(name: &str) -> Client {
    let name = crate::support::new_database(&format!("catalog_{name}")).await;
    crate::support::client(&crate::support::postgres().url(&name)).await
}

fn table<'a>(catalog: &'a Catalog, name: &str) -> &'a Table {
    catalog.table(&TableName::new("public", name)).unwrap_or_else(|| panic!("{name} is not there"))
}

fn mapped(catalog: &Catalog) -> Mapping {
    compile(catalog, &Edits::default()).unwrap_or_else(|refusals| panic!("{refusals:#?}"))
}

const NORTHWIND: &str = r#"
    CREATE TABLE categories (category_id smallint PRIMARY KEY, category_name varchar(15) NOT NULL, picture bytea);
    CREATE TABLE suppliers (supplier_id smallint PRIMARY KEY, company_name varchar(40) NOT NULL);
    CREATE TABLE products (
        product_id smallint PRIMARY KEY, product_name varchar(40) NOT NULL, unit_price numeric(10,2),
        supplier_id smallint REFERENCES suppliers, category_id smallint REFERENCES categories);
    CREATE TABLE customers (customer_id varchar(5) PRIMARY KEY, company_name varchar(40) NOT NULL);
    CREATE TABLE employees (
        employee_id smallint PRIMARY KEY, last_name varchar(20) NOT NULL, reports_to smallint REFERENCES employees);
    CREATE TABLE orders (
        order_id smallint PRIMARY KEY, customer_id varchar(5) REFERENCES customers,
        employee_id smallint REFERENCES employees, order_date date);
    CREATE TABLE order_details (
        order_id smallint REFERENCES orders, product_id smallint REFERENCES products, quantity smallint NOT NULL,
        PRIMARY KEY (order_id, product_id));
"#;

#[tokio::test]
async fn northwind() {
    let catalog = catalog_of("northwind", NORTHWIND, None).await;
    let mapping = mapped(&catalog);
    assert_eq!(mapping.warnings, []);
    let plan = Plan::new(&Ok(mapping.clone()));
    let nodes: Vec<&str> = plan.nodes.iter().map(|node| node.labels[0].as_str()).collect();
    assert_eq!(nodes, ["Category", "Customer", "Employee", "Order", "Product", "Supplier"]);
    let relationships: Vec<String> = plan
        .relationships
        .iter()
        .map(|it| format!("{} {} {}", it.from, it.relationship_type, it.to))
        .collect();
    let expected = [
        "Employee REPORTS_TO Employee",
        "Order ORDER_DETAILS Product",
        "Order CUSTOMER Customer",
        "Order EMPLOYEE Employee",
        "Product CATEGORY Category",
        "Product SUPPLIER Supplier",
    ];
    assert_eq!(relationships, expected);
    assert!(plan.to_string().contains("foreign key orders_customer_id_fkey\n"), "{plan}");
    assert_written_and_read_again(&catalog, &mapping);
    let price = table(&catalog, "products").column("unit_price").expect("it is there");
    assert_eq!(price.type_name, "numeric(10,2)");
}

fn assert_written_and_read_again(catalog: &Catalog, mapping: &Mapping) {
    let yaml = render_yaml(catalog, mapping);
    let edits: Edits =
        serde_saphyr::from_str(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
    let again = compile(catalog, &edits).unwrap_or_else(|refusals| panic!("{refusals:#?}\n{yaml}"));
    assert_eq!(again.digest(), mapping.digest(), "{yaml}");
    assert_eq!(again, *mapping, "{yaml}");
}

#[tokio::test]
async fn nasty_names() {
    let sql = r##"
        CREATE SCHEMA "my.schema"; CREATE SCHEMA "Sales-EU"; CREATE SCHEMA "a""b";
        CREATE TABLE "Order Items" ("Id" int PRIMARY KEY, "select" text, "tab	bed" text, "it's" text, "new
line" text, "back\slash" text, "`tick`" text, "ünïcode" text, "a: b" text, "#hash" text, "yes" text, "123" text);
        CREATE TABLE "my.schema"."my.table" (id int PRIMARY KEY, "Order Items Id" int REFERENCES "Order Items");
        CREATE TABLE "Sales-EU"."Order Items" (id int PRIMARY KEY, self int REFERENCES "Sales-EU"."Order Items");
        CREATE TABLE "a""b"."null" (id int PRIMARY KEY);
        COMMENT ON TABLE "Order Items" IS E'two\nlines: # of "text"';
    "##;
    let catalog = catalog_of("nasty_names", sql, None).await;
    assert_eq!(catalog.tables.len(), 4);
    assert_eq!(table(&catalog, "Order Items").columns.len(), 12);
    let mapping = mapped(&catalog);
    let labels: Vec<&str> = mapping
        .model
        .tables
        .iter()
        .map(|table| match &table.shape {
            Shape::Node(node) => node.label.as_str(),
            Shape::Relationship(_) => panic!("no join tables here"),
        })
        .collect();
    assert_eq!(labels, ["SalesEUOrderItem", "Null", "MyTable", "OrderItem"]);
    assert_eq!(mapping.tables[2].name.to_string(), r#""my.schema"."my.table""#);
    assert_written_and_read_again(&catalog, &mapping);
}

#[tokio::test]
async fn keys_and_identities() {
    let sql = "
        CREATE TABLE plain (b int, a int, c int, PRIMARY KEY (a, b) INCLUDE (c));
        CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE uniques (
            a int NOT NULL UNIQUE, b int UNIQUE DEFERRABLE, c text NOT NULL, d int, UNIQUE (c, d));
        CREATE UNIQUE INDEX uniques_partial ON uniques (d) WHERE a > 0;
        CREATE UNIQUE INDEX uniques_expression ON uniques (lower(c));
        CREATE INDEX uniques_plain ON uniques (a, d);
        ALTER TABLE uniques REPLICA IDENTITY USING INDEX uniques_a_key;
        CREATE TABLE full_identity (id int PRIMARY KEY); ALTER TABLE full_identity REPLICA IDENTITY FULL;
        CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
        CREATE TABLE lost (id int NOT NULL); CREATE UNIQUE INDEX lost_id ON lost (id);
        ALTER TABLE lost REPLICA IDENTITY USING INDEX lost_id; DROP INDEX lost_id;
        CREATE TYPE pair AS (x numeric, y text);
        CREATE TABLE images (k pair NOT NULL, t text NOT NULL);
        CREATE UNIQUE INDEX images_k ON images (k record_image_ops);
        CREATE UNIQUE INDEX images_t ON images (t text_pattern_ops);
        ALTER TABLE images REPLICA IDENTITY USING INDEX images_k;
    ";
    let catalog = catalog_of("keys", sql, None).await;
    let key = |name: &str| table(&catalog, name).primary_key.clone().expect("a primary key");
    assert_eq!(key("plain").columns, ["a", "b"], "in the key's order, without INCLUDE");
    assert!(key("plain").immediate && !key("late").immediate);
    let uniques = table(&catalog, "uniques");
    let found: Vec<(&str, bool, bool)> =
        uniques.unique_keys.iter().map(|it| (it.name.as_str(), it.immediate, it.partial)).collect();
    let expected = [
        ("uniques_a_key", true, false),
        ("uniques_b_key", false, false),
        ("uniques_c_d_key", true, false),
        ("uniques_partial", true, true),
    ];
    assert_eq!(found, expected);
    let (name, columns) = ("uniques_a_key".to_owned(), vec!["a".to_owned()]);
    assert_eq!(uniques.replica_identity, ReplicaIdentity::Index { name, columns });
    assert_eq!(table(&catalog, "full_identity").replica_identity, ReplicaIdentity::Full);
    assert_eq!(table(&catalog, "nothing").replica_identity, ReplicaIdentity::Nothing);
    assert_eq!(table(&catalog, "lost").replica_identity, ReplicaIdentity::Nothing);
    assert_eq!(table(&catalog, "plain").replica_identity, ReplicaIdentity::Default);
    // Its index has two entries for what the type holds equal: two rows were one node.
    let images = table(&catalog, "images");
    let found: Vec<&str> = images.unique_keys.iter().map(|it| it.name.as_str()).collect();
    assert_eq!((found, &images.replica_identity), (vec!["images_t"], &ReplicaIdentity::Nothing));
    let refusals = compile(&catalog, &Edits::default()).expect_err("late and nothing are refused");
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
}

#[tokio::test]
async fn foreign_keys() {
    let sql = "
        CREATE TABLE targets (a int, b int, u text UNIQUE, PRIMARY KEY (a, b));
        CREATE TABLE owners (
            id int PRIMARY KEY, x int, y int, u text, v text,
            CONSTRAINT composite FOREIGN KEY (y, x) REFERENCES targets (b, a) ON DELETE CASCADE ON UPDATE SET NULL,
            CONSTRAINT late FOREIGN KEY (id) REFERENCES owners DEFERRABLE,
            CONSTRAINT by_unique FOREIGN KEY (u) REFERENCES targets (u) ON DELETE RESTRICT ON UPDATE SET DEFAULT);
        ALTER TABLE owners ADD CONSTRAINT unproved FOREIGN KEY (v) REFERENCES targets (u) NOT VALID;
    ";
    let catalog = catalog_of("foreign_keys", sql, None).await;
    let owners = table(&catalog, "owners");
    let key =
        |name: &str| owners.foreign_keys.iter().find(|it| it.name == name).expect("it is there");
    let composite = key("composite");
    assert_eq!(
        (&composite.columns[..], &composite.target_columns[..]),
        (&["y".into(), "x".into()][..], &["b".into(), "a".into()][..])
    );
    assert_eq!(
        (composite.on_delete, composite.on_update),
        (ReferentialAction::Cascade, ReferentialAction::SetNull)
    );
    assert!(composite.validated && !composite.deferrable);
    assert!(key("late").deferrable && !key("unproved").validated);
    let by_unique = key("by_unique");
    assert_eq!(
        (by_unique.on_delete, by_unique.on_update),
        (ReferentialAction::Restrict, ReferentialAction::SetDefault)
    );
    assert_eq!(key("late").on_delete, ReferentialAction::NoAction);
    let mapping = mapped(&catalog);
    assert_written_and_read_again(&catalog, &mapping);
}

#[tokio::test]
async fn partitions_and_other_kinds() {
    let sql = "
        CREATE TABLE sales (id int, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE sales_2023 PARTITION OF sales FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
        CREATE TABLE sales_2024 PARTITION OF sales FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY HASH (id);
        CREATE TABLE sales_2024_0 PARTITION OF sales_2024 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE TABLE receipts (id int PRIMARY KEY, sale int, at date, FOREIGN KEY (sale, at) REFERENCES sales);
        INSERT INTO sales SELECT i, '2023-06-01'::date + i % 300 FROM generate_series(1, 1000) i;
        ANALYZE;
        CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
        CREATE VIEW a_view AS SELECT 1 AS one;
        CREATE MATERIALIZED VIEW a_materialized_view AS SELECT 1 AS one;
        CREATE TEMPORARY TABLE temporary (id int PRIMARY KEY);
        CREATE TABLE never_analysed (id int PRIMARY KEY);
        CREATE TABLE keyless (line text);
    ";
    let catalog = catalog_of("partitions", sql, None).await;
    let names: Vec<&str> = catalog.tables.iter().map(|table| table.name.name.as_str()).collect();
    let expected = [
        "keyless",
        "never_analysed",
        "receipts",
        "sales",
        "sales_2023",
        "sales_2024",
        "sales_2024_0",
        "unlogged",
    ];
    assert_eq!(names, expected);
    let sales = table(&catalog, "sales");
    assert_eq!(sales.kind, TableKind::Partitioned);
    assert_eq!(sales.estimated_rows, Some(1000));
    assert!(sales.pages >= 2, "{}", sales.pages);
    let root = TableName::new("public", "sales");
    assert_eq!(
        table(&catalog, "sales_2024_0").kind,
        TableKind::Partition { root, holds_rows: true }
    );
    assert_eq!(table(&catalog, "receipts").foreign_keys.len(), 1, "none for each partition");
    assert_eq!(table(&catalog, "never_analysed").estimated_rows, None);
    assert!(!table(&catalog, "unlogged").logged);
    let mapping = mapped(&catalog);
    let published: Vec<&str> = mapping.published_tables().map(|name| name.name.as_str()).collect();
    assert_eq!(published, ["never_analysed", "receipts", "sales"]);
    let left_out = mapping.warnings.iter().filter(|it| matches!(it, Warning::LeftOut { .. }));
    assert_eq!(left_out.count(), 5);
}

#[tokio::test]
async fn partitions_that_would_not_stream_their_rows_are_refused_by_name() {
    let sql = "
        CREATE TABLE unlogged (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE unlogged_1 PARTITION OF unlogged FOR VALUES FROM (0) TO (9) PARTITION BY LIST (id);
        CREATE UNLOGGED TABLE unlogged_1_1 PARTITION OF unlogged_1 FOR VALUES IN (1);
        CREATE TABLE by_index (id int, r int, c text NOT NULL, PRIMARY KEY (id, r)) PARTITION BY LIST (r);
        CREATE TABLE by_index_1 PARTITION OF by_index FOR VALUES IN (1);
        CREATE TABLE by_index_2 PARTITION OF by_index FOR VALUES IN (2);
        CREATE UNIQUE INDEX by_index_2_c ON by_index_2 (c);
        ALTER TABLE by_index_2 REPLICA IDENTITY USING INDEX by_index_2_c;
    ";
    let mut client = new_database("partitions_refused").await;
    client.batch_execute(sql).await.expect("the schema is made");
    let refusals = compile(&read(&mut client, None).await.unwrap(), &Edits::default()).unwrap_err();
    let said: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    let fixes = [
        "ALTER TABLE \"public\".\"by_index_2\" REPLICA IDENTITY DEFAULT",
        "ALTER TABLE \"public\".\"unlogged_1_1\" SET LOGGED",
    ];
    assert_eq!(said.len(), fixes.len(), "{said:#?}");
    for (said, fix) in said.iter().zip(fixes) {
        assert!(said.contains(fix), "{said}");
        client.batch_execute(fix).await.expect("the advice can be followed");
    }
    mapped(&read(&mut client, None).await.unwrap());
}

#[tokio::test]
async fn a_table_with_a_partition_on_another_server_is_left_out_until_that_is_detached() {
    let sql = "
        CREATE FOREIGN DATA WRAPPER nowhere;
        CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere;
        CREATE TABLE mixed (id int NOT NULL, v text) PARTITION BY RANGE (id);
        CREATE TABLE mixed_1 PARTITION OF mixed FOR VALUES FROM (0) TO (10);
        CREATE TABLE mixed_2 PARTITION OF mixed FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
        CREATE FOREIGN TABLE mixed_far PARTITION OF mixed_2 FOR VALUES FROM (10) TO (20) SERVER elsewhere;
        CREATE TABLE plain (id int PRIMARY KEY);
    ";
    let mut client = new_database("foreign_partition").await;
    client.batch_execute(sql).await.expect("the schema is made");
    let add_key = "ALTER TABLE mixed ADD PRIMARY KEY (id)";
    client
        .batch_execute(add_key)
        .await
        .expect_err("the advice for other tables does not work here");
    let mapping = mapped(&read(&mut client, None).await.unwrap());
    assert_eq!(mapping.published_tables().count(), 1);
    let said = mapping.warnings.iter().map(ToString::to_string).find(|it| it.contains("foreign"));
    let said = said.expect("the foreign table is named");
    let fix = "ALTER TABLE \"public\".\"mixed_2\" DETACH PARTITION \"public\".\"mixed_far\"";
    assert!(said.starts_with("public.mixed is left out") && said.contains(fix), "{said}");
    client.batch_execute(&format!("{fix}; {add_key}")).await.expect("the advice can be followed");
    assert_eq!(mapped(&read(&mut client, None).await.unwrap()).published_tables().count(), 2);
}

#[tokio::test]
async fn a_statement_that_is_advised_works_whatever_the_table_is_called() {
    const NAME: &str = "a\n\"b\\c\\u0060\t'd.e";
    let mut client = new_database("hostile_name").await;
    let table = quote_identifier(NAME);
    let sql = format!(
        "CREATE TABLE {table} (id int PRIMARY KEY); ALTER TABLE {table} REPLICA IDENTITY NOTHING; \
         CREATE UNLOGGED TABLE left_out (id int PRIMARY KEY); ALTER TABLE left_out RENAME TO {}",
        quote_identifier(&format!("left{NAME}"))
    );
    client.batch_execute(&sql).await.expect("the schema is made");
    let refusals = compile(&read(&mut client, None).await.unwrap(), &Edits::default()).unwrap_err();
    let said = refusals[0].to_string();
    assert_eq!(said.lines().count(), 1, "{said}");
    let advice = &said[said.find("ALTER TABLE").unwrap()..said.rfind(", or leave").unwrap()];
    client.batch_execute(advice).await.expect("the advice can be followed");
    let mapping = mapped(&read(&mut client, None).await.unwrap());
    let said = mapping.warnings[0].to_string();
    let advice = &said[said.find("ALTER TABLE").unwrap()..];
    client.batch_execute(advice).await.expect("the advice can be followed");
    let mapping = mapped(&read(&mut client, None).await.unwrap());
    assert_eq!(mapping.published_tables().count(), 2);
}

#[tokio::test]
async fn types_down_to_the_bottom() {
    let sql = "
        CREATE TYPE mood AS ENUM ('sad', 'happy');
        CREATE DOMAIN positive AS numeric(9,3) CHECK (VALUE > 0);
        CREATE DOMAIN positive_list AS positive[];
        CREATE TYPE place AS (street text, moods mood[], price positive);
        CREATE TABLE things (
            id int PRIMARY KEY, m mood, ms mood[], p positive, pl positive_list, at place, ats place[],
            r int4range, v int2vector, made int GENERATED ALWAYS AS (id * 2) STORED, one bigint GENERATED ALWAYS AS IDENTITY);
        CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE laxly (id text COLLATE lax PRIMARY KEY);
    ";
    let catalog = catalog_of("types", sql, None).await;
    let kind = |name: &str| {
        let facts = catalog.types.iter().find(|it| it.name == name);
        facts.unwrap_or_else(|| panic!("{name} is not known")).kind.clone()
    };
    let TypeKind::Enum { mut labels } = kind("mood") else { panic!("mood is an enum") };
    labels.sort();
    assert_eq!(labels, ["happy", "sad"]);
    let nine_three = ((9 << 16) | 3) + 4;
    assert_eq!(kind("positive"), TypeKind::Domain { base: 1700, modifier: nine_three });
    assert!(matches!(kind("_mood"), TypeKind::Array { .. }));
    assert!(
        matches!(kind("place"), TypeKind::Composite { fields } if fields.len() == 3 && fields[0].name == "street")
    );
    assert_eq!(kind("int4range"), TypeKind::Range { subtype: 23, ordinary: true });
    assert_eq!(kind("int2vector"), TypeKind::Base);
    let things = table(&catalog, "things");
    let column = |name: &str| things.column(name).expect("it is there");
    assert!(column("made").generated && !column("one").generated);
    let lax = &table(&catalog, "laxly").columns[0];
    assert!(!lax.deterministic && lax.not_null);
    let skip = serde_saphyr::from_str("{tables: {public.laxly: {skip: true}}}").expect("YAML");
    let mapping = compile(&catalog, &skip).expect("a mapping");
    let read = |name: &str| {
        let mut columns = mapping.tables[0].columns.iter();
        columns.find(|it| it.name == name).expect("read").value_type.graph_type()
    };
    let found = ["m", "ms", "p", "pl", "at", "ats", "r"].map(read);
    let expected = [
        "String",
        "List<String>",
        "String",
        "List<String>",
        "String (JSON)",
        "String (JSON)",
        "String",
    ];
    assert_eq!(found, expected);
    let unknown = |it: &&wal2graph::mapping::columns::MappedColumn| {
        matches!(it.value_type, Type::Unknown { .. })
    };
    assert_eq!(mapping.tables[0].columns.iter().find(unknown), None);
}

#[tokio::test]
async fn publications_limit_rows_and_columns() {
    let mut client = new_database("publications").await;
    let version: i32 = client
        .query_one("SELECT pg_catalog.current_setting('server_version_num')::int4", &[])
        .await
        .expect("a version")
        .get(0);
    // What each version can say, and has to be read of it.
    let (limits, options) = match version {
        ..150_000 => ("", ""),
        150_000..180_000 => ("(id, shown) WHERE (id > 10)", ""),
        180_000.. => ("(id, shown) WHERE (id > 10)", "WITH (publish_generated_columns = stored)"),
    };
    let sql = format!(
        "CREATE TABLE limited (id int PRIMARY KEY, shown text, hidden text);
        CREATE TABLE whole (id int PRIMARY KEY, limited_id int REFERENCES limited,
            made int GENERATED ALWAYS AS (id) STORED);
        CREATE PUBLICATION limits FOR TABLE limited {limits}, whole {options};"
    );
    client.batch_execute(&sql).await.expect("the schema is made");
    let catalog = read(&mut client, Some("limits")).await.expect("the catalog is read");
    let limited = &table(&catalog, "limited").published;
    let is_limited = version >= 150_000;
    let listed = || vec!["id".to_owned(), "shown".to_owned()];
    assert_eq!(limited.columns, is_limited.then(listed));
    assert_eq!(limited.row_filter.as_deref(), is_limited.then_some("(id > 10)"));
    assert_eq!(table(&catalog, "whole").published.row_filter, None);
    let mapping = mapped(&catalog);
    let [first, second] = &mapping.model.tables[..] else { panic!("two tables") };
    let (Shape::Node(limited), Shape::Node(whole)) = (&first.shape, &second.shape) else {
        panic!("two nodes")
    };
    assert_eq!(limited.properties.contains(&"hidden".to_owned()), !is_limited);
    assert_eq!(whole.properties.contains(&"made".to_owned()), version >= 180_000);
    let nowhere = read(&mut client, Some("nowhere")).await.expect("the catalog is read");
    assert_eq!(table(&nowhere, "limited").published, Publication::default());
}

#[tokio::test]
async fn a_surrogate_key_on_a_join_table() {
    let sql = "
        CREATE TABLE people (id int PRIMARY KEY);
        CREATE TABLE knows (id int PRIMARY KEY, a int NOT NULL REFERENCES people, b int NOT NULL REFERENCES people);
    ";
    let catalog = catalog_of("surrogate", sql, None).await;
    let yaml = "{tables: {public.knows: {relationship: {type: KNOWS,
        from: {columns: [a], to: public.people}, to: {columns: [b], to: public.people}}}}}";
    let edits: Edits = serde_saphyr::from_str(yaml).expect("YAML");
    let mapping = compile(&catalog, &edits).expect("a mapping");
    let Shape::Relationship(knows) = &mapping.model.tables[0].shape else {
        panic!("a relationship")
    };
    assert_eq!(knows.key, RelationshipKey::Own(vec!["id".to_owned()]));
    assert_written_and_read_again(&catalog, &mapping);
}
