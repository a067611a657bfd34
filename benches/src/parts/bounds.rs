//! Resident memory in the cases that take most of it: wide tables, wide rows, a large transaction, a backlog.
//!
//! Each is a first copy, and then a backlog of the same. The bar is what the documentation promises: 256 MiB, and three
//! times the largest value that is allowed.

use tokio_postgres::Client;

use crate::{
    Result,
    figures::{Ratio, Taken},
    lab::Lab,
    program::Pipeline,
};

/// The share of each case that is taken, as one of so many parts.
const PART_OF: &str = "BOUNDS_PART_OF";
/// `limits.value_bytes`, as it is if nobody sets it.
const VALUE_MIB: f64 = 64.0;
/// How much there may be.
const LIMIT_MIB: f64 = 256.0 + 3.0 * VALUE_MIB;

/// A case: the rows before the copy, and the backlog.
struct Case {
    name: &'static str,
    schema: String,
    copied: String,
    /// Each is a transaction.
    backlog: Vec<String>,
}

/// Fifty tables of a hundred columns; a transaction changes them all.
fn tables(part_of: usize) -> Case {
    const TABLES: usize = 50;
    const COLUMNS: usize = 100;
    let rows = 2_000 / part_of;
    let names: Vec<String> = (0..COLUMNS).map(|it| format!("c{it}")).collect();
    let columns = names.iter().map(|it| format!("{it} text")).collect::<Vec<_>>().join(", ");
    let values = names.iter().map(|it| format!("'{it} of ' || g")).collect::<Vec<_>>().join(", ");
    let all = |each: &dyn Fn(usize) -> String| (0..TABLES).map(each).collect::<String>();
    let insert = |from: usize| {
        all(&|table| {
            let to = from + rows - 1;
            format!(
                "INSERT INTO wide{table} SELECT g, {values} FROM generate_series({from}, {to}) g;"
            )
        })
    };
    Case {
        name: "50 wide tables",
        schema: all(&|table| format!("CREATE TABLE wide{table} (id int PRIMARY KEY, {columns});")),
        copied: insert(1),
        backlog: vec![insert(rows + 1)],
    }
}

/// Rows of nearly the largest value.
fn rows(part_of: usize) -> Case {
    let (count, size) = (8 / part_of.min(8), 60 << 20);
    let insert = |from: usize| {
        let to = from + count - 1;
        format!(
            "INSERT INTO large SELECT g, repeat('x', {size}) FROM generate_series({from}, {to}) g"
        )
    };
    Case {
        name: "rows of 60 MiB",
        schema: "CREATE TABLE large (id int PRIMARY KEY, text text); \
            ALTER TABLE large ALTER COLUMN text SET STORAGE EXTERNAL"
            .to_owned(),
        copied: insert(1),
        backlog: vec![insert(count + 1)],
    }
}

/// Five million rows in one transaction.
fn transaction(part_of: usize) -> Case {
    let rows = 5_000_000 / part_of;
    Case {
        name: "5 million rows in a transaction",
        schema: "CREATE TABLE events (id int PRIMARY KEY, kind text, value int)".to_owned(),
        copied: "SELECT".to_owned(),
        backlog: vec![format!(
            "INSERT INTO events SELECT n, 'kind ' || n % 7, n % 1000 FROM generate_series(1, {rows}) n"
        )],
    }
}

/// An hour of 500 transactions a second.
fn hour(part_of: usize) -> Case {
    let count = 3_600 * 500 / part_of;
    let procedure = "CREATE PROCEDURE work(count int) LANGUAGE plpgsql AS $$ BEGIN \
        FOR n IN 1..count LOOP \
            INSERT INTO orders VALUES (n, n % 1000, 'new') ON CONFLICT (id) DO UPDATE SET status = 'again'; \
            COMMIT; \
        END LOOP; END $$";
    Case {
        name: "an hour's backlog",
        schema: format!(
            "CREATE TABLE orders (id int PRIMARY KEY, customer int, status text); {procedure}"
        ),
        copied: "SELECT".to_owned(),
        // Nothing but the order of commits counts.
        backlog: vec!["SET synchronous_commit = off".to_owned(), format!("CALL work({count})")],
    }
}

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    let part_of = std::env::var(PART_OF).ok().map_or(Ok(1), |it| it.parse())?;
    for case in [tables, rows, transaction, hour] {
        let case = case(part_of);
        lab.wipe("(n)").await?;
        for round in 1..=lab.rounds {
            // Room for the next database.
            let name = format!(
                "bounds_{}_{round}",
                case.name.replace(|it: char| !it.is_alphanumeric(), "_")
            );
            let sql = lab.new_database(&name).await?;
            let pipeline = Pipeline::new(lab, &name);
            once(&case, &sql, &pipeline, &mut taken).await?;
            sql.batch_execute(&format!("SELECT pg_drop_replication_slot('{}')", pipeline.slot()))
                .await?;
            lab.wipe("(n)").await?;
        }
        for what in ["copy", "backlog"] {
            let name = format!("{}: memory peak, {what}", case.name);
            let figure = taken.figures.iter().find(|figure| figure.name == name);
            let peaks = figure.map(|it| it.values.clone()).unwrap_or_default();
            taken.ratios.push(Ratio {
                part: "bounds".to_owned(),
                name: format!("{LIMIT_MIB} MiB / {name}"),
                values: peaks.iter().map(|peak| LIMIT_MIB / peak).collect(),
                at_least: Some(1.0),
            });
        }
    }
    Ok(taken)
}

/// The copy, and then the backlog.
async fn once(case: &Case, sql: &Client, pipeline: &Pipeline<'_>, taken: &mut Taken) -> Result<()> {
    sql.batch_execute(&case.schema).await?;
    sql.batch_execute(&case.copied).await?;
    let copy = pipeline.catch_up()?;
    for statement in &case.backlog {
        sql.batch_execute(statement).await?;
    }
    let backlog = pipeline.catch_up()?;
    for (what, run) in [("copy", copy), ("backlog", backlog)] {
        let name = format!("{}: memory peak, {what}", case.name);
        taken.value("bounds", name, "MiB", run.cost.memory_peak_mib);
    }
    Ok(())
}
