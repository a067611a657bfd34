//! Short constructors of catalogs for tests.

#![allow(clippy::unwrap_used)]

use wal2graph::catalog::{
    Catalog, Column, ForeignKey, Publication, ReferentialAction, ReplicaIdentity, Table, TableKind,
    TableName, UniqueKey,
};
use wal2graph::graph::model::{NodeShape, RelationshipShape, Shape};
use wal2graph::mapping::{Edits, Mapping, Refusal, compile};

/// `orders` is `public.orders`.
pub fn name(text: &str) -> TableName {
    let (schema, name) = text.split_once('.').unwrap_or(("public", text));
    TableName::new(schema, name)
}

/// A table with columns `name type`, NOT NULL if the type ends in `!`.
pub fn table(table: &str, columns: &str) -> Table {
    let columns = columns.split(", ").zip(1..).map(|(column, number)| {
        let (name, type_name) = column.rsplit_once(' ').unwrap();
        let not_null = type_name.ends_with('!');
        let type_name = type_name.trim_end_matches('!');
        Column {
            name: name.to_owned(),
            number,
            type_oid: type_oid(type_name),
            type_modifier: -1,
            type_name: type_name.to_owned(),
            not_null,
            generated: false,
            deterministic: true,
        }
    });
    Table {
        name: name(table),
        oid: table.bytes().fold(16_384, |oid, byte| oid * 31 % 1_000_003 + u32::from(byte)),
        kind: TableKind::Ordinary,
        logged: true,
        foreign_partition: None,
        columns: columns.collect(),
        primary_key: None,
        unique_keys: Vec::new(),
        foreign_keys: Vec::new(),
        replica_identity: ReplicaIdentity::Default,
        estimated_rows: None,
        pages: 0,
        comment: None,
        published: Publication::default(),
    }
}

pub fn customers() -> Table {
    table("customers", "id int4, name text").pk("id")
}

pub fn orders() -> Table {
    table("orders", "id int4, customer_id int4, note text").pk("id").fk(
        "customer_id",
        "customers",
        "id",
    )
}

pub fn type_oid(name: &str) -> u32 {
    match name {
        "int2" => 21,
        "int4" => 23,
        "int8" => 20,
        "text" => 25,
        "bpchar" => 1042,
        "varchar" => 1043,
        "numeric" => 1700,
        "float8" => 701,
        "date" => 1082,
        "bytea" => 17,
        "bool" => 16,
        "timestamp" => 1114,
        "timestamptz" => 1184,
        "time" => 1083,
        "timetz" => 1266,
        "interval" => 1186,
        "jsonb" => 3802,
        "daterange" => 3912,
        "tsquery" => 3615,
        "mystery" => 99_999,
        other => panic!("no type {other}"),
    }
}

pub fn columns(names: &str) -> Vec<String> {
    names.split(", ").map(str::to_owned).collect()
}

pub fn unique(constraint: &str, names: &str) -> UniqueKey {
    let (name, columns) = (constraint.to_owned(), columns(names));
    UniqueKey { name, columns, immediate: true, partial: false }
}

/// Further facts about a table.
pub trait TableExt: Sized {
    fn pk(self, columns: &str) -> Self;
    fn fk(self, columns: &str, target: &str, target_columns: &str) -> Self;
    fn with(self, change: impl FnOnce(&mut Table)) -> Self;
}

impl TableExt for Table {
    fn pk(mut self, names: &str) -> Self {
        for column in &mut self.columns {
            column.not_null |= columns(names).contains(&column.name);
        }
        self.primary_key = Some(unique(&format!("{}_pkey", self.name.name), names));
        self
    }

    fn fk(mut self, names: &str, target: &str, target_columns: &str) -> Self {
        self.foreign_keys.push(ForeignKey {
            name: format!("{}_{}_fkey", self.name.name, names.replace(", ", "_")),
            columns: columns(names),
            target: name(target),
            target_columns: columns(target_columns),
            on_delete: ReferentialAction::NoAction,
            on_update: ReferentialAction::NoAction,
            deferrable: false,
            validated: true,
            period: false,
        });
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Table)) -> Self {
        change(&mut self);
        self
    }
}

pub fn catalog(tables: impl IntoIterator<Item = Table>) -> Catalog {
    Catalog { tables: tables.into_iter().collect(), ..Catalog::default() }
}

/// Edits as a file has them.
pub fn edits(yaml: &str) -> Edits {
    serde_saphyr::from_str(yaml).unwrap()
}

pub fn mapped(tables: impl IntoIterator<Item = Table>) -> Mapping {
    edited(tables, "{}")
}

pub fn edited(tables: impl IntoIterator<Item = Table>, yaml: &str) -> Mapping {
    match compile(&catalog(tables), &edits(yaml)) {
        Ok(mapping) => mapping,
        Err(refusals) => panic!("refused: {refusals:#?}"),
    }
}

pub fn refused(tables: impl IntoIterator<Item = Table>, yaml: &str) -> Vec<Refusal> {
    compile(&catalog(tables), &edits(yaml)).expect_err("a mapping that should be refused")
}

pub fn node<'a>(mapping: &'a Mapping, table: &str) -> &'a NodeShape {
    match shape(mapping, table) {
        Shape::Node(node) => node,
        other => panic!("{table} is {other:?}"),
    }
}

pub fn relationship<'a>(mapping: &'a Mapping, table: &str) -> &'a RelationshipShape {
    match shape(mapping, table) {
        Shape::Relationship(relationship) => relationship,
        other => panic!("{table} is {other:?}"),
    }
}

fn shape<'a>(mapping: &'a Mapping, table: &str) -> &'a Shape {
    let name = name(table);
    let index = mapping.table_index(&name.schema, &name.name);
    &mapping.model.table(index.unwrap_or_else(|| panic!("{table} is not mapped"))).shape
}

/// A small Northwind: a self reference, a join table with properties, and one without.
pub fn northwind() -> Vec<Table> {
    vec![
        table("categories", "category_id int2, category_name varchar!, picture bytea").pk("category_id"),
        table("suppliers", "supplier_id int2, company_name varchar!").pk("supplier_id"),
        table(
            "products",
            "product_id int2, product_name varchar!, supplier_id int2, category_id int2, unit_price numeric",
        )
        .pk("product_id")
        .fk("category_id", "categories", "category_id")
        .fk("supplier_id", "suppliers", "supplier_id"),
        table("customers", "customer_id varchar, company_name varchar!").pk("customer_id"),
        table("employees", "employee_id int2, last_name varchar!, reports_to int2")
            .pk("employee_id")
            .fk("reports_to", "employees", "employee_id"),
        table("shippers", "shipper_id int2, company_name varchar!").pk("shipper_id"),
        table("orders", "order_id int2, customer_id varchar, employee_id int2, order_date date, ship_via int2")
            .pk("order_id")
            .fk("customer_id", "customers", "customer_id")
            .fk("employee_id", "employees", "employee_id")
            .fk("ship_via", "shippers", "shipper_id"),
        table("order_details", "order_id int2!, product_id int2!, unit_price numeric!, quantity int2!")
            .pk("order_id, product_id")
            .fk("order_id", "orders", "order_id")
            .fk("product_id", "products", "product_id"),
        table("region", "region_id int2, region_description varchar!").pk("region_id"),
        table("territories", "territory_id varchar, region_id int2!")
            .pk("territory_id")
            .fk("region_id", "region", "region_id"),
        table("employee_territories", "employee_id int2!, territory_id varchar!")
            .pk("employee_id, territory_id")
            .fk("employee_id", "employees", "employee_id")
            .fk("territory_id", "territories", "territory_id"),
    ]
}
