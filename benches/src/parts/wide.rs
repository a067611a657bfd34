//! One transaction that changes every table of a wide schema once, into the graph of a freshly
//! started Neo4j. Measures the cost of planning so many statements, and the time without a commit.
//!
//! ```text
//! Neo4j started -> tables copied -> three transactions, each changes every table in another way
//!      ^                                   |
//!      +---- started again ----------------+   once more
//! ```

use std::{
    fmt::Write as _,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use neo4rs::Query;
use tokio::time::sleep;
use tokio_postgres::Client;
use wal2graph::neo4j::{Connection, Options, connect::ANSWER_LIMIT};
use wal2graph_servers::{Compiled, Neo4j, Neo4jOptions};

use crate::{
    Result,
    figures::Taken,
    lab::Lab,
    program::{Running, TICKS_PER_SECOND},
    stream,
};

const SIZES: [usize; 2] = [60, 300];
/// The interval of reads of the checkpoint.
const LOOK: Duration = Duration::from_millis(100);
/// The time limit for a transaction to reach the graph.
const LIMIT: Duration = Duration::from_secs(900);

/// A transaction's operation on a table.
#[derive(Clone, Copy)]
enum Change {
    Insert,
    Update,
    Delete,
}

/// A table of the generated schema.
struct Table {
    number: usize,
    /// The tables that its columns refer to.
    refers: Vec<usize>,
    is_join: bool,
}

/// The tables. Every fifth joins two others. The others refer to two, and every third of these also
/// to itself. Some tables have many references to them.
fn tables(count: usize) -> Vec<Table> {
    let is_join = |number: usize| number % 5 == 4;
    let node =
        |wanted: usize| (wanted..).map(|it| it % count).find(|it| !is_join(*it)).unwrap_or(0);
    let table = |number: usize| {
        let mut refers = vec![node(number * 7 + 3), node(number % 10)];
        if is_join(number) && refers[0] == refers[1] {
            refers[1] = node(refers[1] + 1);
        }
        if number.is_multiple_of(3) && !is_join(number) {
            refers.push(number);
        }
        Table { number, refers, is_join: is_join(number) }
    };
    (0..count).map(table).collect()
}

impl Table {
    fn create(&self) -> String {
        let Table { number, refers, .. } = self;
        match self.is_join {
            true => format!(
                "CREATE TABLE wide_{number} (a_id int, b_id int, note text, PRIMARY KEY (a_id, b_id));"
            ),
            false => {
                let columns: Vec<_> = (0..refers.len()).map(|at| format!("r{at}_id int")).collect();
                format!(
                    "CREATE TABLE wide_{number} (id int PRIMARY KEY, name text NOT NULL, \
                     total numeric(10, 2), at timestamptz, {});",
                    columns.join(", ")
                )
            }
        }
    }

    fn refer(&self) -> String {
        let column = |at: usize| match (self.is_join, at) {
            (true, 0) => "a_id".to_owned(),
            (true, _) => "b_id".to_owned(),
            (false, at) => format!("r{at}_id"),
        };
        let references = self.refers.iter().enumerate().map(|(at, target)| {
            let (number, column) = (self.number, column(at));
            format!(
                "ALTER TABLE wide_{number} ADD FOREIGN KEY ({column}) REFERENCES wide_{target};"
            )
        });
        references.collect()
    }

    /// Three rows; nothing refers to the third.
    fn fill(&self) -> String {
        let Table { number, refers, .. } = self;
        match self.is_join {
            true => {
                format!("INSERT INTO wide_{number} VALUES (1, 1, 'a'), (1, 2, 'b'), (2, 1, 'c');")
            }
            false => {
                let ones = ", 1".repeat(refers.len());
                let rows = (1..=3).map(|id| format!("({id}, 'n{id}', {id}.5, now(){ones})"));
                format!("INSERT INTO wide_{number} VALUES {};", rows.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn change(&self, change: Change) -> String {
        let Table { number, refers, .. } = self;
        match (change, self.is_join) {
            (Change::Insert, true) => format!("INSERT INTO wide_{number} VALUES (2, 2, 'd');"),
            (Change::Update, true) => {
                format!("UPDATE wide_{number} SET note = 'x' WHERE (a_id, b_id) = (1, 2);")
            }
            (Change::Delete, true) => {
                format!("DELETE FROM wide_{number} WHERE (a_id, b_id) = (2, 1);")
            }
            (Change::Insert, false) => {
                let ones = ", 1".repeat(refers.len());
                format!("INSERT INTO wide_{number} VALUES (4, 'n4', 4.5, now(){ones});")
            }
            (Change::Update, false) => {
                format!("UPDATE wide_{number} SET name = 'x', r0_id = 2 WHERE id = 2;")
            }
            (Change::Delete, false) => format!("DELETE FROM wide_{number} WHERE id = 3;"),
        }
    }

    /// The number of nodes and relationships of its rows.
    fn count(&self) -> String {
        let Table { number, refers, .. } = self;
        match self.is_join {
            true => format!("SELECT 0::bigint, count(*) FROM wide_{number}"),
            false => {
                let counts: Vec<_> =
                    (0..refers.len()).map(|at| format!("count(r{at}_id)")).collect();
                format!("SELECT count(*), {} FROM wide_{number}", counts.join(" + "))
            }
        }
    }
}

/// The transaction that changes each table in its own way; each `turn` has other ways.
fn transaction(tables: &[Table], turn: usize) -> String {
    let kinds = [Change::Insert, Change::Update, Change::Delete];
    let mut text = "BEGIN;".to_owned();
    for table in tables {
        text += &table.change(kinds[(table.number + turn) % kinds.len()]);
    }
    // It comes last: when it is in the graph, everything is.
    let _ = write!(text, "INSERT INTO wide_end VALUES ({turn}); COMMIT;");
    text
}

/// A separate Neo4j, with a pipeline into it.
struct Try<'a> {
    sql: &'a Client,
    tables: &'a [Table],
    neo4j: Neo4j,
    graph: Connection,
}

/// The cost of a transaction.
struct Took {
    seconds: f64,
    processor_seconds: f64,
    longest_gap: f64,
}

impl Try<'_> {
    /// Commits the transaction and waits until it is in the graph.
    async fn apply(&self, turn: usize) -> Result<Took> {
        let before = processor_seconds(&self.neo4j)?;
        self.sql.batch_execute(&transaction(self.tables, turn)).await?;
        let (began, mut moved) = (Instant::now(), Instant::now());
        let (mut at, mut longest_gap) = (None, Duration::ZERO);
        loop {
            let (position, done) = self.look(turn).await?;
            if at.as_ref() != Some(&position) {
                longest_gap = longest_gap.max(moved.elapsed());
                (at, moved) = (Some(position), Instant::now());
            }
            if done {
                break;
            }
            if began.elapsed() > LIMIT {
                return Err(format!("not in the graph after {} s", LIMIT.as_secs()).into());
            }
            sleep(LOOK).await;
        }
        Ok(Took {
            seconds: began.elapsed().as_secs_f64(),
            processor_seconds: processor_seconds(&self.neo4j)? - before,
            longest_gap: longest_gap.as_secs_f64(),
        })
    }

    /// The checkpoint's position, and whether the transaction is in the graph.
    async fn look(&self, turn: usize) -> Result<(String, bool)> {
        let text = "MATCH (c:_Wal2GraphCheckpoint) \
             RETURN c.lsn_text + ' ' + coalesce(toString(c.part_events), '') AS position, \
             EXISTS { (:WideEnd {id: $turn}) } AS done";
        let query = Query::new(text.to_owned()).param("turn", turn as i64);
        let rows = self.graph.rows(query).await?;
        let row = rows.first().ok_or("there is no checkpoint")?;
        Ok((row.get("position")?, row.get("done")?))
    }

    /// The graph has the same counts as the tables.
    async fn check(&self) -> Result<()> {
        let each: Vec<_> = self.tables.iter().map(Table::count).collect();
        let text = format!(
            "SELECT sum(n)::bigint, sum(r)::bigint FROM ({}) AS t(n, r)",
            each.join(" UNION ALL ")
        );
        let row = self.sql.query_one(&text, &[]).await?;
        let text = "MATCH (n) WHERE NOT n:WideEnd AND NOT n:_Wal2GraphCheckpoint \
             RETURN count(n) AS nodes, sum(COUNT { (n)-->() }) AS relationships";
        let rows = self.graph.rows(Query::new(text.to_owned())).await?;
        let found = rows.first().ok_or("no row")?;
        let found: (i64, i64) = (found.get("nodes")?, found.get("relationships")?);
        let expected: (i64, i64) = (row.get(0), row.get(1));
        match found == expected {
            true => Ok(()),
            false => Err(format!("{found:?} nodes and relationships, not {expected:?}").into()),
        }
    }
}

fn processor_seconds(neo4j: &Neo4j) -> Result<f64> {
    let id = neo4j.id().ok_or("Neo4j does not run")?;
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(2).filter_map(|it| it.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / TICKS_PER_SECOND)
}

async fn database(lab: &Lab, name: &str, tables: &[Table]) -> Result<Client> {
    let sql = lab.new_database(name).await?;
    sql.batch_execute("CREATE TABLE wide_end (id int PRIMARY KEY);").await?;
    for step in [Table::create, Table::fill, Table::refer] {
        let text: String = tables.iter().map(step).collect();
        sql.batch_execute(&text).await?;
    }
    Ok(sql)
}

/// When the transaction comes.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Copied,
    StartedAgain,
}

async fn one_try(
    lab: &Lab,
    (count, round, when): (usize, usize, When),
    taken: &mut Taken,
) -> Result<()> {
    let again = if when == When::Copied { "" } else { "_again" };
    let (name, tables) = (format!("wide_{count}_{round}{again}"), tables(count));
    let sql = database(lab, &name, &tables).await?;
    let options = Neo4jOptions {
        heap: "2g".to_owned(),
        page_cache: "1g".to_owned(),
        compiled: Compiled::Well,
        ..Neo4jOptions::default()
    };
    let neo4j = Neo4j::start(&options)?;
    let url = neo4j.url();
    let graph = Connection::new(&Options::open(&url), ANSWER_LIMIT)?;
    let mut command = Command::new(&lab.program);
    command.args(["run", "--source-url", &lab.postgres.url(&name), "--graph-url", &url]);
    command.args(["--pipeline", &name]);
    let mut program = Running::start(command)?;
    program.wait_for("copied")?;
    let mut attempt = Try { sql: &sql, tables: &tables, neo4j, graph };
    let turns: &[&str] = match when {
        When::Copied => &["", ", changed again", ", and again"],
        When::StartedAgain => {
            attempt.neo4j.stop()?;
            attempt.neo4j.start_again()?;
            &[", Neo4j started again"]
        }
    };
    for (turn, what) in turns.iter().enumerate() {
        let Took { seconds, processor_seconds, longest_gap } = attempt.apply(turn).await?;
        for (figure, value) in [
            ("in the graph", seconds),
            ("Neo4j's processor", processor_seconds),
            ("longest without a commit", longest_gap),
        ] {
            taken.value("wide", format!("{count} tables{what}: {figure}"), "s", value);
        }
    }
    if when == When::Copied {
        attempt.check().await?;
    }
    program.terminate()?;
    while stream::drop_slot(&sql, &format!("wal2graph_{name}")).await.is_err() {
        sleep(LOOK).await;
    }
    Ok(())
}

pub async fn measure(lab: &Lab) -> Result<Taken> {
    let mut taken = Taken::default();
    for count in SIZES {
        // Every round starts cold, so the first one counts too.
        for round in 0..lab.rounds {
            for when in [When::Copied, When::StartedAgain] {
                one_try(lab, (count, round, when), &mut taken).await?;
            }
        }
    }
    Ok(taken)
}
