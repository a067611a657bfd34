//! What each kind of change costs: the tables of which a start reads rows, as the server has counted them.
//! `docs/schema-changes.md` promises the same, row by row.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Pipeline, until};

/// The page that promises it.
const PAGE: &str = include_str!("../../../docs/schema-changes.md");

/// A row of the page's table, and what is tried of it: statements, each followed by the tables that are read.
struct Promise {
    change: &'static str,
    reads: &'static str,
    tried: &'static [(&'static str, &'static [&'static str])],
}

const fn promise(
    change: &'static str,
    reads: &'static str,
    tried: &'static [(&'static str, &'static [&'static str])],
) -> Promise {
    Promise { change, reads, tried }
}

const SCHEMA: &str = "
    CREATE TYPE co_mood AS ENUM ('sad', 'glad');
    CREATE TYPE co_pair AS (x int, y int);
    CREATE DOMAIN co_seven AS int DEFAULT 7;
    CREATE TABLE co_a (id int PRIMARY KEY, v text, w int);
    CREATE TABLE co_b (id int PRIMARY KEY, a_id int REFERENCES co_a);
    CREATE TABLE co_e (id int PRIMARY KEY, mood co_mood);
    CREATE TABLE co_t (id int PRIMARY KEY, pair co_pair);
    CREATE TABLE co_z (id int PRIMARY KEY, v text);
    CREATE TABLE co_p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE co_p1 PARTITION OF co_p FOR VALUES FROM (0) TO (100);
    CREATE TABLE co_p2 PARTITION OF co_p FOR VALUES FROM (100) TO (200);
    CREATE TABLE co_q (id int PRIMARY KEY, v text);
    INSERT INTO co_a SELECT g, 'v' || g, g FROM generate_series(1, 100) g;
    INSERT INTO co_b SELECT g, g FROM generate_series(1, 50) g;
    INSERT INTO co_e SELECT g, 'sad' FROM generate_series(1, 5) g;
    INSERT INTO co_t SELECT g, ROW(g, g)::co_pair FROM generate_series(1, 5) g;
    INSERT INTO co_z SELECT g, 'z' FROM generate_series(1, 10) g;
    INSERT INTO co_p SELECT g, 'p' FROM generate_series(95, 104) g;
    INSERT INTO co_q SELECT g, 'q' FROM generate_series(200, 210) g";

const PROMISES: &[Promise] = &[
    promise("`ADD COLUMN` without a default", "nothing", &[("ALTER TABLE co_a ADD c1 int", &[])]),
    promise(
        "`ADD COLUMN` with a default, an identity, or of a domain with a default",
        "the table",
        &[
            ("ALTER TABLE co_a ADD c2 int DEFAULT 7", &["co_a"]),
            ("ALTER TABLE co_a ADD c3 int GENERATED ALWAYS AS IDENTITY", &["co_a"]),
            ("ALTER TABLE co_a ADD c4 co_seven", &["co_a"]),
        ],
    ),
    promise("`DROP COLUMN`", "nothing", &[("ALTER TABLE co_a DROP c2", &[])]),
    promise(
        "`DROP COLUMN`, then `ADD COLUMN` of the same name",
        "the table",
        &[("ALTER TABLE co_a DROP v, ADD v text", &["co_a"])],
    ),
    promise("`RENAME COLUMN`", "the table", &[("ALTER TABLE co_a RENAME c3 TO c5", &["co_a"])]),
    promise(
        "`ALTER COLUMN TYPE`, also `USING` another value of the same type",
        "the table",
        &[
            ("ALTER TABLE co_a ALTER w TYPE bigint", &["co_a"]),
            ("ALTER TABLE co_a ALTER w TYPE bigint USING w * 2", &["co_a"]),
        ],
    ),
    promise(
        "`SET DEFAULT`, `SET NOT NULL`, `SET STATISTICS`, comments, indexes, `VACUUM FULL`, `CLUSTER`",
        "nothing",
        &[
            (
                "ALTER TABLE co_a ALTER w SET DEFAULT 1, ALTER w SET NOT NULL, ALTER w SET STATISTICS 10",
                &[],
            ),
            ("COMMENT ON TABLE co_a IS 'a'; CREATE INDEX co_i ON co_a (w)", &[]),
            ("VACUUM FULL co_a", &[]),
            ("CLUSTER co_a USING co_a_pkey", &[]),
        ],
    ),
    promise(
        "`ALTER TYPE ... RENAME VALUE` of an enum",
        "the tables that use it",
        &[("ALTER TYPE co_mood RENAME VALUE 'sad' TO 'blue'", &["co_e"])],
    ),
    promise(
        "`ALTER TYPE ... ADD VALUE`",
        "nothing",
        &[("ALTER TYPE co_mood ADD VALUE 'new'", &[])],
    ),
    promise(
        "attributes of a composite type are added, dropped or renamed",
        "the tables that use it",
        &[("ALTER TYPE co_pair RENAME ATTRIBUTE x TO left_side", &["co_t"])],
    ),
    promise(
        "a foreign key is added or dropped",
        "the table that has it",
        &[
            ("ALTER TABLE co_b DROP CONSTRAINT co_b_a_id_fkey", &["co_b"]),
            ("ALTER TABLE co_b ADD FOREIGN KEY (a_id) REFERENCES co_a", &["co_b"]),
        ],
    ),
    promise(
        "`CREATE TABLE`",
        "the new table",
        &[(
            "CREATE TABLE co_n (id int PRIMARY KEY, v text); INSERT INTO co_n VALUES (1, 'n')",
            &["co_n"],
        )],
    ),
    promise("`DROP TABLE`", "nothing", &[("DROP TABLE co_n", &[])]),
    promise(
        "`DROP TABLE`, then `CREATE TABLE` of the same name",
        "the new table",
        &[(
            "DROP TABLE co_z; CREATE TABLE co_z (id int PRIMARY KEY, v text); INSERT INTO co_z VALUES (1, 'again')",
            &["co_z"],
        )],
    ),
    promise(
        "`RENAME TABLE`, or two tables exchange their names",
        "the table",
        &[
            ("ALTER TABLE co_z RENAME TO co_y", &["co_y"]),
            (
                "ALTER TABLE co_e RENAME TO co_x; ALTER TABLE co_t RENAME TO co_e; ALTER TABLE co_x RENAME TO co_t",
                &["co_e", "co_t"],
            ),
        ],
    ),
    promise(
        "out of the publication",
        "nothing",
        &[(
            "ALTER PUBLICATION OWN DROP TABLE co_a; UPDATE co_a SET v = 'missed' WHERE id = 1",
            &[],
        )],
    ),
    promise(
        "in the publication again; another row filter or column list",
        "the table",
        &[("ALTER PUBLICATION OWN ADD TABLE ONLY co_a", &["co_a"])],
    ),
    promise(
        "`ATTACH PARTITION`, or a new partition",
        "that partition; nothing if it is empty when `run` looks",
        &[
            ("ALTER TABLE co_p ATTACH PARTITION co_q FOR VALUES FROM (200) TO (300)", &["co_q"]),
            ("CREATE TABLE co_p4 PARTITION OF co_p FOR VALUES FROM (400) TO (500)", &[]),
        ],
    ),
    promise(
        "a partition is attached, written and detached between two looks",
        "the partitioned table",
        &[(
            "CREATE TABLE co_w (id int PRIMARY KEY, v text); \
             ALTER TABLE co_p ATTACH PARTITION co_w FOR VALUES FROM (300) TO (400); \
             INSERT INTO co_p VALUES (301, 'w'); ALTER TABLE co_p DETACH PARTITION co_w; DROP TABLE co_w",
            &["co_p1", "co_p2", "co_q"],
        )],
    ),
    promise(
        "`DETACH`, `DROP` or `TRUNCATE` of a single partition",
        "the partitioned table",
        &[
            ("TRUNCATE co_p1", &["co_p2", "co_q"]),
            ("DROP TABLE co_p2", &["co_q"]),
            ("INSERT INTO co_p VALUES (1, 'p')", &[]),
            ("ALTER TABLE co_p DETACH PARTITION co_q; DROP TABLE co_q", &["co_p1"]),
        ],
    ),
    promise("`TRUNCATE` of the table", "nothing", &[("TRUNCATE co_b", &[])]),
    promise(
        "the publication is dropped and made again in one transaction",
        "all tables",
        &[(
            "DO $$ BEGIN DROP PUBLICATION OWN; \
             CREATE PUBLICATION OWN FOR TABLE co_a, co_b, co_e, co_p, co_t, co_y \
             WITH (publish_via_partition_root = true); END $$",
            &["co_a", "co_e", "co_p1", "co_t", "co_y"],
        )],
    ),
    promise(
        "labels, types, properties or relationships in the file",
        "the tables that they are of",
        &[("FILE tables: {public.co_t: {label: CoMoved}}", &["co_t"])],
    ),
    promise(
        "`include`, `exclude`, a pattern or `skip` in the file",
        "the tables that come",
        &[
            ("FILE tables: {public.co_t: {skip: true}}", &[]),
            ("FILE tables: {public.co_t: {label: CoMoved}}", &["co_t"]),
        ],
    ),
    promise(
        "`naming` in the file",
        "the tables that get other names",
        &[(
            "FILE {tables: {public.co_t: {label: CoMoved}}, mapping: {naming: {labels: 'Cost{name}'}}}",
            &["co_a", "co_e", "co_p1", "co_y"],
        )],
    ),
];

/// How many rows of each table were read, by the server's own counts. Sessions report them when they end.
async fn read_rows(pipeline: &Pipeline) -> BTreeMap<String, i64> {
    let others = "SELECT count(*) FROM pg_stat_activity \
                  WHERE datname = current_database() AND pid <> pg_backend_pid()";
    until("its sessions have ended", async || {
        pipeline.sql.query_one(others, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    pipeline.sql.batch_execute("SELECT pg_stat_force_next_flush()").await.unwrap();
    let sql = "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables";
    let rows = pipeline.sql.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// What its next start reads.
async fn reads(pipeline: &Pipeline) -> BTreeSet<String> {
    let before = read_rows(pipeline).await;
    pipeline.catch_up().await;
    let after = read_rows(pipeline).await.into_iter();
    let more = after.filter(|(table, rows)| *rows > before.get(table).copied().unwrap_or(0));
    more.map(|(table, _)| table).collect()
}

#[ignore = "long: make nightly"]
#[tokio::test]
async fn a_change_reads_the_tables_that_the_page_names_and_no_others() {
    let mut pipeline = Pipeline::new("shcosts", SCHEMA).await;
    pipeline.catch_up().await;
    assert_eq!(reads(&pipeline).await, BTreeSet::new(), "nothing has changed");
    for Promise { change, tried, .. } in PROMISES {
        for (statements, expected) in *tried {
            match statements.strip_prefix("FILE ") {
                Some(file) => pipeline = pipeline.configured(file),
                None => execute(&pipeline, statements).await,
            }
            let expected: BTreeSet<String> = expected.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(reads(&pipeline).await, expected, "{change}: {statements}");
            let verified = pipeline.output(&["verify"]).await;
            let said = String::from_utf8_lossy(&verified.stdout);
            assert!(verified.status.success() || said.contains("missed"), "{statements}: {said}");
        }
    }
}

/// Each for itself: some can not be in a transaction with others.
async fn execute(pipeline: &Pipeline, statements: &str) {
    let own = format!("wal2graph_{}", pipeline.name);
    let statements = statements.replace("OWN", &own);
    let whole = statements.starts_with("DO ");
    let each: Vec<&str> = if whole { vec![&statements] } else { statements.split(';').collect() };
    for sql in each {
        let ran = pipeline.sql.batch_execute(sql).await;
        ran.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

#[test]
fn the_page_promises_what_is_tried() {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with("| change |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let promised: BTreeSet<(String, String)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            (cells[0].to_owned(), cells[2].to_owned())
        })
        .collect();
    let tried = PROMISES.iter().map(|it| (it.change.to_owned(), it.reads.to_owned()));
    assert_eq!(promised, tried.collect());
}
