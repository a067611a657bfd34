//! The cost of a change on its way through the program, in counts that do not depend on the
//! machine's load: allocations, and instructions if valgrind is installed.
//!
//! ```text
//! frames --Decoder--> changes --Translator--> events --fold, plan, render--> texts and rows --> driver's parameters
//! ```
//!
//! There is no server, clock or other task. The same frames give the same counts, so a code change
//! that makes the path longer shows up (in `make path`, and in a test of this file).

use std::{
    alloc::{GlobalAlloc, Layout, System},
    env,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::{BufMut, Bytes, BytesMut};
use wal2graph::{
    catalog::{
        Catalog, Column, ForeignKey, Publication, ReferentialAction, ReplicaIdentity, Table,
        TableKind, TableName, UniqueKey,
    },
    change::Event,
    graph::{Circumstances, Mutations, plan},
    lsn::Lsn,
    mapping::{Edits, Translator, compile},
    neo4j::sink::Prepared,
    pgoutput::Decoder,
};

/// The number of transactions in one batch: an order and three lines each.
const TRANSACTIONS: u32 = 1_000;
/// Changes of one batch.
const CHANGES: u64 = TRANSACTIONS as u64 * 4;

/// Counts calls of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(bytes: usize) {
    ALLOCATIONS.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
}

// Everything goes to the system's allocator unchanged.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    match env::args().nth(1).as_deref() {
        None => {
            let counted = allocations();
            println!("allocations per change: {:.2}", counted.allocations);
            println!("bytes allocated per change: {:.0}", counted.bytes);
            match instructions() {
                Some(instructions) => println!("instructions per change: {instructions:.0}"),
                None => println!("instructions per change: valgrind is needed to count them"),
            }
        }
        Some(batches) => {
            let batches = batches.parse().expect("how many batches");
            let mut path = Path::new();
            (0..batches).for_each(|_| path.batch());
        }
    }
}

struct Counted {
    allocations: f64,
    bytes: f64,
}

/// The allocations of a batch, after a first one.
fn allocations() -> Counted {
    let mut path = Path::new();
    path.batch();
    let before = (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed));
    path.batch();
    let of = |counter: &AtomicU64, before| (counter.load(Relaxed) - before) as f64 / CHANGES as f64;
    Counted { allocations: of(&ALLOCATIONS, before.0), bytes: of(&BYTES, before.1) }
}

/// Instructions for each change, counted by callgrind: those of eleven batches minus those of one.
fn instructions() -> Option<f64> {
    let program = env::current_exe().ok()?;
    let of = |batches: &str| -> Option<f64> {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        let output = valgrind.arg(&program).arg(batches).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = text.lines().find_map(|line| line.split_once("Collected : "))?.1;
        line.trim().parse().ok()
    };
    Some((of("11")? - of("1")?) / (10 * CHANGES) as f64)
}

/// The program's way without its ends.
struct Path {
    decoder: Decoder,
    translator: Translator,
    frames: Vec<Bytes>,
}

impl Path {
    fn new() -> Self {
        let tables = [
            table(1, "customers", "id int8", "id", &[]),
            table(2, "products", "id int8", "id", &[]),
            table(
                3,
                "orders",
                "id int8, customer_id int8, status text, total numeric, placed_at timestamptz",
                "id",
                &[("customer_id", "customers")],
            ),
            table(
                4,
                "order_items",
                "order_id int8, product_id int8, qty int4, price numeric",
                "order_id, product_id",
                &[("order_id", "orders"), ("product_id", "products")],
            ),
        ];
        let mut decoder = Decoder::new();
        for table in &tables {
            decoder.decode(relation(table)).expect("a relation");
        }
        let catalog = Catalog { tables: tables.into(), ..Catalog::default() };
        let mapping = compile(&catalog, &Edits::default()).expect("a mapping");
        let frames = (0..TRANSACTIONS).flat_map(transaction).collect();
        Path { decoder, translator: Translator::new(Arc::new(mapping)), frames }
    }

    fn batch(&mut self) {
        let mut mutations = Mutations::default();
        for frame in &self.frames {
            let Some(Event::Change(change)) = self.decoder.decode(frame.clone()).expect("a frame")
            else {
                continue;
            };
            let event =
                self.translator.translate(&change, Lsn::ZERO).expect("a row of the mapping");
            event.into_iter().for_each(|event| mutations.push(event));
        }
        let model = &self.translator.mapping().model;
        let statements = plan(model, mutations, Circumstances::Settled);
        drop(std::hint::black_box(Prepared::of(model, statements)));
    }
}

/// A table of `name type` columns with its key and foreign keys.
fn table(oid: u32, name: &str, columns: &str, key: &str, references: &[(&str, &str)]) -> Table {
    let names = |text: &str| text.split(", ").map(str::to_owned).collect::<Vec<_>>();
    let column = |(column, number): (&str, i16)| {
        let (name, type_name) = column.split_once(' ').expect("a name and a type");
        let (type_oid, type_modifier) = match type_name {
            "int8" => (20, -1),
            "int4" => (23, -1),
            "text" => (25, -1),
            "numeric" => (1700, -1),
            _ => (1184, -1),
        };
        Column {
            name: name.to_owned(),
            number,
            type_oid,
            type_modifier,
            type_name: type_name.to_owned(),
            not_null: true,
            generated: false,
            deterministic: true,
        }
    };
    let unique =
        |name: String, columns| UniqueKey { name, columns, immediate: true, partial: false };
    let reference = |(column, target): &(&str, &str)| ForeignKey {
        name: format!("{name}_{column}_fkey"),
        columns: names(column),
        target: TableName::new("public", *target),
        target_columns: names("id"),
        on_delete: ReferentialAction::Cascade,
        on_update: ReferentialAction::NoAction,
        deferrable: false,
        period: false,
        validated: true,
    };
    Table {
        name: TableName::new("public", name),
        oid,
        kind: TableKind::Ordinary,
        logged: true,
        foreign_partition: None,
        columns: columns.split(", ").zip(1..).map(column).collect(),
        primary_key: Some(unique(format!("{name}_pkey"), names(key))),
        unique_keys: Vec::new(),
        foreign_keys: references.iter().map(reference).collect(),
        replica_identity: ReplicaIdentity::Default,
        estimated_rows: None,
        pages: 0,
        comment: None,
        published: Publication::default(),
    }
}

/// The Relation message of a table.
fn relation(table: &Table) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(b'R');
    frame.put_u32(table.oid);
    for text in ["public", &table.name.name] {
        frame.put_slice(text.as_bytes());
        frame.put_u8(0);
    }
    frame.put_u8(b'd');
    frame.put_u16(table.columns.len() as u16);
    let key = table.primary_key.as_ref().expect("a key");
    for column in &table.columns {
        frame.put_u8(key.columns.contains(&column.name).into());
        frame.put_slice(column.name.as_bytes());
        frame.put_u8(0);
        frame.put_u32(column.type_oid);
        frame.put_i32(-1);
    }
    frame.freeze()
}

/// An order with three lines.
fn transaction(number: u32) -> Vec<Bytes> {
    let lsn = u64::from(number) * 1_000 + 1_000;
    let mut begin = BytesMut::new();
    begin.put_u8(b'B');
    begin.put_u64(lsn);
    begin.put_u64(0);
    begin.put_u32(number);
    let mut commit = BytesMut::new();
    commit.put_slice(b"C\0");
    commit.put_u64(lsn);
    commit.put_u64(lsn + 8);
    commit.put_u64(0);
    let order = number.to_string();
    let (customer, total) = ((number * 7 % 500).to_string(), format!("{number}.25"));
    let mut frames = vec![
        begin.freeze(),
        insert(3, &[&order, &customer, "new", &total, "2026-01-02 03:04:05.678901+00"]),
    ];
    for line in 0..3 {
        let product = (number * 3 % 200 + line * 300).to_string();
        frames.push(insert(4, &[&order, &product, "2", "19.99"]));
    }
    frames.push(commit.freeze());
    frames
}

fn insert(relation: u32, values: &[&str]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(b'I');
    frame.put_u32(relation);
    frame.put_u8(b'N');
    frame.put_u16(values.len() as u16);
    for value in values {
        frame.put_u8(b't');
        frame.put_u32(value.len() as u32);
        frame.put_slice(value.as_bytes());
    }
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::allocations;

    #[test]
    fn a_change_allocates_no_more_than_it_did() {
        /// The count at the time of writing, with room for another version of a dependency.
        const LIMIT: f64 = 17.0;
        let counted = allocations();
        assert!(counted.allocations > 1.0, "the counter counts");
        assert!(
            counted.allocations < LIMIT,
            "{:.2} allocations per change, more than {LIMIT}",
            counted.allocations
        );
    }
}
