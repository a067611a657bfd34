//! The simulated source: its catalog, and the rows that go with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use wal2graph::{
    catalog::{self, Catalog, Column, Publication, ReferentialAction, TableKind, TableName},
    change::{Cell, Relation, RelationColumn, ReplicaIdentity, Tuple},
    mapping::{Edits, Mapping, compile},
    start::{
        shape::{ColumnTrace, Trace},
        tables::{Now, PublicationIs, TableFacts, TableIs, Wanted, Way},
    },
    value::{TypeFacts, TypeKind},
};

use super::{super::store::PUBLICATION, faults::Unfollowed};

/// The object ids of the columns' types.
pub const INT: u32 = 20;
pub const TEXT: u32 = 25;
pub const MOOD: u32 = 90_001;

/// Texts of this beginning are TOASTed.
pub const WIDE: char = 'w';

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimColumn {
    pub name: String,
    pub number: i16,
    pub type_oid: u32,
    /// The transaction that wrote it in `pg_attribute`.
    pub xmin: u32,
    /// `atthasmissing`.
    pub has_default: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The referring columns, by number. The target's are its first ones.
    pub columns: Vec<i16>,
    /// The target's object id.
    pub target: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// It has the rows with ids from this times ten.
    pub bound: i64,
    pub file: u32,
    /// The transaction that attached it.
    pub xmin: u32,
}

/// A row: values by the numbers of their columns, without NULLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimRow {
    pub cells: BTreeMap<i16, String>,
    pub block: u32,
    pub leaf: Option<u32>,
}

/// Everything of a table but its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub oid: u32,
    pub name: String,
    pub columns: Vec<SimColumn>,
    /// `relnatts`.
    pub numbers: i16,
    pub file: u32,
    /// The columns of its primary key, by number.
    pub key: Vec<i16>,
    pub foreign_keys: Vec<ForeignKey>,
    /// Its row in `pg_publication_rel`.
    pub by: Option<u32>,
    pub leaves: Option<BTreeMap<u32, Leaf>>,
}

#[derive(Clone, Debug)]
pub struct SimTable {
    pub is: Definition,
    /// Rows by a number that they keep.
    pub rows: BTreeMap<u64, SimRow>,
}

/// A partition that was detached.
#[derive(Clone, Debug)]
pub struct Loose {
    pub oid: u32,
    pub file: u32,
    pub bound: i64,
    pub rows: BTreeMap<u64, SimRow>,
}

/// What a snapshot sees.
#[derive(Clone, Debug)]
pub struct State {
    pub tables: Vec<SimTable>,
    pub loose: Vec<Loose>,
    /// The labels of the enum, by object id.
    pub labels: BTreeMap<u32, String>,
    /// The publication's object id.
    pub publication: u32,
    /// It is FOR ALL TABLES.
    pub has_all: bool,
}

impl Definition {
    pub fn column(&self, number: i16) -> &SimColumn {
        self.columns.iter().find(|it| it.number == number).expect("the table has the column")
    }

    pub fn named(&self, name: &str) -> Option<&SimColumn> {
        self.columns.iter().find(|it| it.name == name)
    }

    pub fn is_key(&self, number: i16) -> bool {
        self.key.contains(&number)
    }

    pub fn refers(&self, number: i16) -> bool {
        self.foreign_keys.iter().any(|it| it.columns.contains(&number))
    }

    /// The relations with its blocks, and their files.
    pub fn heaps(&self) -> Vec<(Option<u32>, u32)> {
        match &self.leaves {
            None => vec![(None, self.file)],
            Some(leaves) => leaves.iter().map(|(oid, leaf)| (Some(*oid), leaf.file)).collect(),
        }
    }

    fn names(&self, numbers: &[i16]) -> Vec<String> {
        numbers.iter().map(|number| self.column(*number).name.clone()).collect()
    }

    /// A tuple of it. What is not among the `known` columns is NULL.
    pub fn tuple(&self, row: &SimRow, known: impl Fn(&SimColumn) -> bool) -> Tuple {
        let cell = |column: &SimColumn| match row.cells.get(&column.number) {
            Some(value) if known(column) => Cell::Text(Bytes::from(value.clone())),
            _ => Cell::Null,
        };
        self.columns.iter().map(cell).collect()
    }

    pub fn relation(&self, leaf: Option<u32>) -> Arc<Relation> {
        let column = |column: &SimColumn| RelationColumn {
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_modifier: -1,
            identity: self.is_key(column.number),
        };
        Arc::new(Relation {
            oid: self.oid,
            schema: "public".to_owned(),
            name: self.name.clone(),
            replica_identity: ReplicaIdentity::Default,
            columns: self.columns.iter().map(column).collect(),
            leaf,
        })
    }
}

impl State {
    pub fn table(&self, oid: u32) -> Option<&SimTable> {
        self.tables.iter().find(|table| table.is.oid == oid)
    }

    pub fn named(&self, name: &str) -> Option<&SimTable> {
        self.tables.iter().find(|table| table.is.name == name)
    }

    pub fn is_published(&self, table: &Definition) -> bool {
        self.has_all || table.by.is_some()
    }

    /// Another text for another catalog.
    pub fn trace(&self) -> String {
        let tables: Vec<&Definition> = self.tables.iter().map(|table| &table.is).collect();
        format!("{tables:?} {:?} {}", self.labels, self.publication)
    }

    /// The catalog of those of its tables that `is_in`.
    pub fn catalog(&self, is_in: impl Fn(&Definition) -> bool) -> Catalog {
        let tables = self.tables.iter().filter(|table| is_in(&table.is));
        let labels = self.labels.values().cloned().collect();
        let mood = TypeFacts {
            oid: MOOD,
            schema: "public".to_owned(),
            name: "mood".to_owned(),
            delimiter: ',',
            kind: TypeKind::Enum { labels },
        };
        let tables = tables.map(|table| self.catalog_table(&table.is));
        Catalog { tables: tables.collect(), types: vec![mood], ..Catalog::default() }
    }

    fn catalog_table(&self, table: &Definition) -> catalog::Table {
        let column = |column: &SimColumn| Column {
            name: column.name.clone(),
            number: column.number,
            type_oid: column.type_oid,
            type_modifier: -1,
            type_name: String::new(),
            not_null: table.is_key(column.number) || column.name == "alt",
            generated: false,
            deterministic: true,
        };
        let unique = |name: &str, columns: Vec<String>| catalog::UniqueKey {
            name: name.to_owned(),
            columns,
            immediate: true,
            partial: false,
        };
        // Others may refer to the first column, whatever the primary key is.
        let of_first = (table.key.len() == 1).then(|| unique("first", table.names(&[1])));
        let of_alt = table.named("alt").map(|alt| unique("alt", vec![alt.name.clone()]));
        let foreign_key = |key: &ForeignKey| {
            let target = &self.table(key.target).expect("the target is there").is;
            let numbers: Vec<i16> = (1..).take(key.columns.len()).collect();
            catalog::ForeignKey {
                name: format!("{:?}", key.columns),
                columns: table.names(&key.columns),
                target: TableName::new("public", &target.name),
                target_columns: target.names(&numbers),
                on_delete: ReferentialAction::NoAction,
                on_update: ReferentialAction::NoAction,
                deferrable: false,
                validated: true,
                period: false,
            }
        };
        catalog::Table {
            name: TableName::new("public", &table.name),
            oid: table.oid,
            kind: match table.leaves {
                None => TableKind::Ordinary,
                Some(_) => TableKind::Partitioned,
            },
            logged: true,
            foreign_partition: None,
            columns: table.columns.iter().map(column).collect(),
            primary_key: Some(unique("key", table.names(&table.key))),
            unique_keys: of_first.into_iter().chain(of_alt).collect(),
            foreign_keys: table.foreign_keys.iter().map(foreign_key).collect(),
            replica_identity: catalog::ReplicaIdentity::Default,
            estimated_rows: None,
            pages: 0,
            comment: None,
            published: Publication::default(),
        }
    }

    /// The mapping of its published tables, and of those that a graph has.
    pub fn mapping(&self, known: &BTreeSet<u32>) -> Option<Mapping> {
        let is_in = |table: &Definition| self.is_published(table) || known.contains(&table.oid);
        compile(&self.catalog(is_in), &Edits::default()).ok()
    }

    /// The mapped tables, as a look finds them.
    pub fn now(&self, mapping: &Mapping, fault: Option<Unfollowed>) -> Now {
        let found = Wanted::of(mapping).into_iter().filter_map(|wanted| {
            let SimTable { is: table, rows } = self.named(&wanted.name.name)?;
            let trace = self.trace_of((table, rows), fault);
            let numbers = trace.columns.iter().map(|it| (it.name.clone(), it.number));
            let by = match (self.has_all, table.by, fault) {
                (true, ..) => Some(Way::All),
                (_, Some(_), Some(Unfollowed::MembershipByNameOnly)) => Some(Way::Table(1)),
                (_, by, _) => by.map(Way::Table),
            };
            let is = TableIs {
                schema: wanted.name.schema.clone(),
                name: wanted.name.name.clone(),
                oid: table.oid,
                columns: numbers.filter(|(name, _)| wanted.columns.contains(name)).collect(),
                key: wanted.key.clone(),
                by: by.into_iter().collect(),
                shape: None,
                definition: None,
                names: None,
                paused: None,
            };
            Some((is, trace))
        });
        let (tables, traces) = found.unzip();
        let publication =
            PublicationIs { name: PUBLICATION.to_owned(), oid: self.publication, altered_by: None };
        Now {
            unmapped: BTreeMap::new(),
            paused: BTreeMap::new(),
            facts: TableFacts::new(Some(publication), tables),
            traces,
            in_recovery: false,
            all_operations: true,
            identities: Vec::new(),
        }
    }

    fn trace_of(
        &self,
        (table, rows): (&Definition, &BTreeMap<u64, SimRow>),
        fault: Option<Unfollowed>,
    ) -> Trace {
        let is = |planted: Unfollowed| fault == Some(planted);
        let has_rows = |leaf: u32| {
            !is(Unfollowed::LeafTakenForEmpty) && rows.values().any(|row| row.leaf == Some(leaf))
        };
        let empty =
            table.leaves.iter().flatten().map(|(oid, _)| *oid).filter(|oid| !has_rows(*oid));
        let column = |(place, column): (i16, &SimColumn)| ColumnTrace {
            name: column.name.clone(),
            number: if is(Unfollowed::ColumnsByName) { place } else { column.number },
            type_oid: column.type_oid,
            xmin: match is(Unfollowed::ColumnsByName) || is(Unfollowed::UsingUnseen) {
                true => 0,
                false => column.xmin,
            },
            has_default: column.has_default && !is(Unfollowed::DefaultUnseen),
        };
        let leaf = |(oid, leaf): (&u32, &Leaf)| {
            let xmin = if is(Unfollowed::AttachedAgainUnseen) { 0 } else { leaf.xmin };
            let file = if is(Unfollowed::LeafTruncatedUnseen) { 0 } else { leaf.file };
            (*oid, format!("{xmin}:{file}"))
        };
        let has_mood = table.columns.iter().any(|it| it.type_oid == MOOD);
        Trace {
            composites: BTreeMap::new(),
            // Tells nothing where changes name their table by its object id.
            named_by: 0,
            columns: (1..).zip(&table.columns).map(column).collect(),
            numbers: match is(Unfollowed::DropUnseen) || is(Unfollowed::ColumnsByName) {
                true => table.columns.len() as i16,
                false => table.numbers,
            },
            file: match (is(Unfollowed::RewriteUnseen), &table.leaves) {
                (false, None) => table.file,
                _ => 0,
            },
            leaves: table.leaves.iter().flatten().map(leaf).collect(),
            empty_leaves: empty.collect(),
            labels: match has_mood && !is(Unfollowed::EnumUnseen) {
                true => self.labels.clone(),
                false => BTreeMap::new(),
            },
        }
    }
}
