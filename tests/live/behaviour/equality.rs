//! Equal in PostgreSQL is equal in the graph, different stays different: by copy and by stream.
//!
//! ```text
//! a key type, the types that refer to it, values of all --> tables, rows, relationships
//! PostgreSQL, asked with `=` for each pair              --> what the graph must have
//! ```
//!
//! Half of the rows are copied and half are streamed, on both sides of the references, so each pair
//! of values meets in each of the four ways.

use std::{collections::BTreeSet, fmt::Write as _, fs};

use neo4rs::Query;

use crate::support::{Pipeline, graph, is_thorough};

mod cases;
mod collations;
mod periods;

use cases::{CASES, Case, TYPES};

/// Where the values of a case are referred to by.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// The key: a missing target becomes a placeholder.
    Key,
    /// A unique column beside the key.
    Unique,
}

/// Tables of all cases with their rows, and the file that maps them.
struct World {
    pipeline: Pipeline,
    folder: tempfile::TempDir,
    prefix: &'static str,
    by: By,
    cases: Vec<(usize, &'static Case)>,
}

/// The cases of one run: all of them in `make nightly`, else those of a third, which `SEED` names. Neo4j plans for
/// minutes for all of them.
fn chosen() -> Vec<(usize, &'static Case)> {
    const PARTS: usize = 3;
    let seed: usize = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => usize::try_from(std::process::id()).unwrap(),
    };
    println!("SEED={seed}");
    let is_chosen = |(at, _): &(usize, &Case)| is_thorough() || at % PARTS == seed % PARTS;
    CASES.iter().enumerate().filter(is_chosen).collect()
}

impl World {
    async fn new(prefix: &'static str, by: By) -> World {
        let key = match by {
            By::Key => "k {} PRIMARY KEY, n int",
            By::Unique => "k {} UNIQUE, n int PRIMARY KEY",
        };
        let (cases, mut schema) = (chosen(), TYPES.to_owned());
        for &(at, case) in &cases {
            let key = key.replace("{}", case.key);
            write!(schema, "CREATE TABLE {prefix}_t{at} ({key});").unwrap();
            let columns = case.refers.iter().enumerate();
            let columns: String =
                columns.map(|(number, (of, _))| format!(", r{number} {of}")).collect();
            write!(schema, "CREATE TABLE {prefix}_o{at} (id int PRIMARY KEY{columns});").unwrap();
        }
        let pipeline = Pipeline::new(prefix, &schema).await;
        let folder = tempfile::tempdir().unwrap();
        let world = World { pipeline, folder, prefix, by, cases };
        fs::write(world.file(), world.mapping()).unwrap();
        world
    }

    fn file(&self) -> String {
        self.folder.path().join("wal2graph.yaml").to_str().unwrap().to_owned()
    }

    fn mapping(&self) -> String {
        let (prefix, mut yaml) = (self.prefix, "tables:\n".to_owned());
        let to_columns = match self.by {
            By::Key => "",
            By::Unique => ", to_columns: [k]",
        };
        for &(at, case) in &self.cases {
            writeln!(yaml, "  public.{prefix}_t{at}: {{label: {prefix}T{at}}}").unwrap();
            writeln!(yaml, "  public.{prefix}_o{at}:\n    label: {prefix}O{at}").unwrap();
            writeln!(yaml, "    relationships:").unwrap();
            for number in 0..case.refers.len() {
                writeln!(
                    yaml,
                    "      - {{type: R{number}, columns: [r{number}], to: public.{prefix}_t{at}{to_columns}}}"
                )
                .unwrap();
            }
        }
        yaml
    }

    /// Inserts the rows whose number is of this parity. A key that is there already is none.
    async fn insert(&self, odd: bool) {
        let prefix = self.prefix;
        let mut sql = String::new();
        let wanted = |number: &usize| (number % 2 == 1) == odd;
        for &(at, case) in &self.cases {
            for number in (0..case.values.len()).filter(wanted) {
                let value = case.values[number];
                write!(
                    sql,
                    "INSERT INTO {prefix}_t{at} (k, n) VALUES ({value}, {number}) ON CONFLICT DO NOTHING;"
                )
                .unwrap();
            }
            for (column, (of, values)) in case.refers.iter().enumerate() {
                let values = if values.is_empty() { case.values } else { values };
                for number in (0..values.len()).filter(wanted) {
                    let id = column * 1_000 + number;
                    let value = values[number];
                    write!(
                        sql,
                        "INSERT INTO {prefix}_o{at} (id, r{column}) VALUES ({id}, ({value})::{of});"
                    )
                    .unwrap();
                }
            }
        }
        self.pipeline.sql.batch_execute(&sql).await.unwrap();
    }

    async fn catch_up(&self) {
        let file = self.file();
        let output = self.pipeline.output(&["run", "--until", "current", "-c", &file]).await;
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
    }

    /// Which row refers to which: what PostgreSQL says is equal.
    async fn expected(&self, at: usize, case: &Case) -> BTreeSet<(i64, i64)> {
        let prefix = self.prefix;
        let mut pairs = BTreeSet::new();
        for (column, (of, _)) in case.refers.iter().enumerate() {
            let equal = case.equal(of).replace("$r", &format!("o.r{column}")).replace("$k", "t.k");
            let sql = format!(
                "SET TimeZone = 'UTC'; SELECT o.id::int8, t.n::int8 FROM {prefix}_o{at} o JOIN {prefix}_t{at} t ON {equal}"
            );
            let (set, query) = sql.split_once(';').unwrap();
            self.pipeline.sql.batch_execute(set).await.unwrap();
            let rows = self.pipeline.sql.query(query, &[]).await;
            let rows = rows.unwrap_or_else(|error| panic!("{} {of}: {error:?}", case.key));
            pairs.extend(rows.iter().map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1))));
        }
        pairs
    }

    async fn found(&self, at: usize) -> BTreeSet<(i64, i64)> {
        let prefix = self.prefix;
        let cypher = format!(
            "MATCH (o:{prefix}O{at})-->(t:{prefix}T{at}) WHERE NOT t:_Placeholder RETURN o.id AS id, t.n AS n"
        );
        let rows = graph().rows(Query::new(cypher)).await.unwrap();
        rows.iter().map(|row| (row.get("id").unwrap(), row.get("n").unwrap())).collect()
    }

    async fn assert_equal(&self) {
        let mut wrong = Vec::new();
        for &(at, case) in &self.cases {
            let (expected, found) = (self.expected(at, case).await, self.found(at).await);
            assert!(!expected.is_empty(), "{}: nothing refers to anything", case.key);
            if expected != found {
                let missing: Vec<_> = expected.difference(&found).collect();
                let extra: Vec<_> = found.difference(&expected).collect();
                wrong.push(format!("{}: missing {missing:?}, extra {extra:?}", case.key));
            }
            let count = format!("SELECT count(*) FROM {}_t{at}", self.prefix);
            let rows: i64 = self.pipeline.sql.query_one(&count, &[]).await.unwrap().get(0);
            let cypher = format!(
                "MATCH (t:{}T{at}) WHERE NOT t:_Placeholder RETURN count(t) AS rows",
                self.prefix
            );
            let nodes: i64 =
                graph().rows(Query::new(cypher)).await.unwrap()[0].get("rows").unwrap();
            if rows != nodes {
                wrong.push(format!("{}: {rows} rows are {nodes} nodes", case.key));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Half of the rows are copied, half streamed.
async fn meets(prefix: &'static str, by: By) {
    let world = World::new(prefix, by).await;
    for odd in [false, true] {
        world.insert(odd).await;
        world.catch_up().await;
    }
    world.assert_equal().await;
}

#[tokio::test]
async fn a_key_meets_what_postgresql_holds_equal_and_nothing_else() {
    meets("eqk", By::Key).await;
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_unique_column_meets_what_postgresql_holds_equal_and_nothing_else() {
    meets("equ", By::Unique).await;
}

#[tokio::test]
async fn a_key_keeps_its_own_value_in_the_property_of_its_name() {
    let schema = "CREATE EXTENSION citext; \
        CREATE TABLE ov_users (id int PRIMARY KEY, email citext UNIQUE, code numeric(6,2) UNIQUE); \
        CREATE TABLE ov_logins (id int PRIMARY KEY, email citext REFERENCES ov_users (email), \
            code numeric REFERENCES ov_users (code)); \
        CREATE TABLE ov_amounts (amount numeric PRIMARY KEY, span interval UNIQUE, note text); \
        INSERT INTO ov_users VALUES (1, 'Foo@Example.COM', 1.10); INSERT INTO ov_amounts VALUES (1.10, '1 mon', 'a')";
    let pipeline = Pipeline::new("originals", schema).await;
    pipeline.catch_up().await;
    let streamed = "INSERT INTO ov_logins VALUES (5, 'foo@example.com', 1.1); \
        INSERT INTO ov_amounts VALUES (2.50, '2 mon', 'b'); UPDATE ov_amounts SET amount = 1.1000 WHERE note = 'a'";
    pipeline.sql.batch_execute(streamed).await.unwrap();
    pipeline.catch_up().await;
    let right = "MATCH (u:OvUser)<-[:EMAIL]-(l:OvLogin)-[:CODE]->(u) \
        MATCH (a:OvAmount {note: 'a'}), (b:OvAmount {note: 'b'}) \
        RETURN u.email = 'Foo@Example.COM' AND u.code = '1.10' AND l.email = 'foo@example.com' AND l.code = '1.1' \
        AND u._key_email = 'foo@example.com' AND a.amount = '1.1000' AND a._key_amount = '1.1' \
        AND b.amount = '2.50' AND b.span = duration('P2M') AS yes";
    assert!(crate::support::holds(right).await);
    let constraint = "SHOW CONSTRAINTS YIELD labelsOrTypes, properties WHERE labelsOrTypes = ['OvAmount'] \
        RETURN collect(properties) = [['_key_amount']] AS yes";
    assert!(crate::support::holds(constraint).await);
    let plan = pipeline.output(&["plan"]).await;
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(plan.contains("unique: _key_amount String (what amount is compared by)"), "{plan}");
}

#[tokio::test]
async fn a_reference_to_a_unique_foreign_key_works_without_foreign_key_properties() {
    let schema = "CREATE TABLE fkp_users (id int PRIMARY KEY); \
        CREATE TABLE fkp_profiles (id int PRIMARY KEY, user_id int NOT NULL UNIQUE REFERENCES fkp_users); \
        CREATE TABLE fkp_settings (id int PRIMARY KEY, user_id int NOT NULL REFERENCES fkp_profiles (user_id)); \
        INSERT INTO fkp_users VALUES (1), (2); INSERT INTO fkp_profiles VALUES (10, 1); INSERT INTO fkp_settings VALUES (100, 1)";
    let pipeline = Pipeline::new("fkproperties", schema).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wal2graph.yaml").to_str().unwrap().to_owned();
    fs::write(&file, "mapping: {foreign_key_properties: false}\n").unwrap();
    for sql in
        ["", "INSERT INTO fkp_profiles VALUES (11, 2); INSERT INTO fkp_settings VALUES (101, 2)"]
    {
        pipeline.sql.batch_execute(sql).await.unwrap();
        let output = pipeline.output(&["run", "--until", "current", "-c", &file]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let right = "MATCH (s:FkpSetting)-->(p:FkpProfile)-->(u:FkpUser) \
        WITH collect(s.id - p.id) AS found, count(u) AS users RETURN found = [90, 90] AND users = 2 AS yes";
    assert!(crate::support::holds(right).await);
}

#[tokio::test]
async fn an_array_that_does_not_count_from_1_keeps_its_bounds() {
    let schema = "CREATE TABLE ab_lists (id int PRIMARY KEY, list int[]); \
        INSERT INTO ab_lists VALUES (1, '[3:5]={1,2,3}'), (2, '{1,2,3}')";
    let pipeline = Pipeline::new("bounds_kept", schema).await;
    pipeline.catch_up().await;
    pipeline.sql.batch_execute("INSERT INTO ab_lists VALUES (3, '[3:5]={1,2,3}')").await.unwrap();
    pipeline.catch_up().await;
    let right = "MATCH (a:AbList {id: 1}), (b:AbList {id: 2}), (c:AbList {id: 3}) \
        RETURN a.list = '[3:5]={1,2,3}' AND c.list = a.list AND b.list = [1, 2, 3] AS yes";
    assert!(crate::support::holds(right).await);
}
