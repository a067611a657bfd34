//! The graph before a first copy.

use super::{assert_nothing_was_made, number, printed, refused, run};
use crate::support::Pipeline;

#[tokio::test]
async fn a_first_copy_into_rows_that_are_there_is_refused_unless_it_is_told() {
    let schema = "CREATE TABLE ie_things (id int PRIMARY KEY); INSERT INTO ie_things VALUES (1)";
    let pipeline = Pipeline::new("existing", schema).await;
    run("CREATE (:IeThing {id: 7})").await;
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains("1 of IeThing") && said.contains("--into-existing-graph"), "{said}");
    assert_nothing_was_made(&pipeline, "IeThing").await;
    let check = pipeline.output(&["check", "--json"]).await;
    let report: serde_json::Value = serde_json::from_slice(&check.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("findings");
    let found = findings.iter().find(|it| it["verdict"] == "failure").expect("a failure");
    let [what, fix] = ["what", "fix"].map(|name| found[name].as_str().expect("a text"));
    assert!(what.contains("1 of IeThing") && !what.contains("--into-existing-graph"), "{report}");
    assert!(fix.contains("--into-existing-graph"), "{report}");
    let check = pipeline.output(&["check", "--into-existing-graph"]).await;
    assert!(check.status.success(), "{}", printed(&check));
    let told = pipeline.output(&["run", "--until", "current", "--into-existing-graph"]).await;
    assert!(told.status.success(), "{}", super::log(&told));
    assert_eq!(number("MATCH (n:IeThing) RETURN count(n) AS n").await, 1, "no row has the other");
    // From then on it goes on by itself.
    pipeline.catch_up().await;
}

#[tokio::test]
async fn placeholders_alone_are_no_rows_where_a_row_takes_them_over() {
    let schema = "CREATE TABLE ph_things (id int PRIMARY KEY); \
        CREATE TABLE ph_parts (id int PRIMARY KEY, thing_id int REFERENCES ph_things); \
        INSERT INTO ph_things VALUES (1)";
    let pipeline = Pipeline::new("placeholders", schema).await;
    run("CREATE (:PhThing:_Placeholder {id: 1})").await;
    pipeline.catch_up().await;
    assert_eq!(number("MATCH (n:PhThing) WHERE NOT n:_Placeholder RETURN count(n) AS n").await, 1);
    // Nobody refers to these, so nobody would look for the mark.
    let schema = "CREATE TABLE ph_alones (id int PRIMARY KEY); INSERT INTO ph_alones VALUES (1)";
    let pipeline = Pipeline::new("placeholders", schema).await;
    run("CREATE (:PhAlone:_Placeholder {id: 1})").await;
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains("1 of PhAlone"), "{said}");
}

#[tokio::test]
async fn an_index_in_the_place_of_a_constraint_is_found_by_check_and_before_anything_is_made() {
    let schema = "CREATE TABLE ix_things (id int PRIMARY KEY)";
    let pipeline = Pipeline::new("theirs", schema).await;
    run("CREATE INDEX ix_theirs IF NOT EXISTS FOR (n:IxThing) ON (n.id)").await;
    run("CALL db.awaitIndexes(60)").await;
    let check = pipeline.output(&["check"]).await;
    assert_eq!(check.status.code(), Some(1));
    assert!(printed(&check).contains("DROP INDEX `ix_theirs`"), "{}", printed(&check));
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains("DROP INDEX `ix_theirs`"), "{said}");
    assert_nothing_was_made(&pipeline, "IxThing").await;
    run("DROP INDEX `ix_theirs`").await;
    pipeline.catch_up().await;
}

#[tokio::test]
async fn a_refused_start_makes_no_constraint_for_a_table_that_was_added() {
    let pipeline =
        Pipeline::new("added", "CREATE TABLE nc_things (id int PRIMARY KEY)").await.stopping();
    pipeline.catch_up().await;
    pipeline.sql.batch_execute("CREATE TABLE nc_others (id int PRIMARY KEY)").await.unwrap();
    let said = refused(&pipeline.output(&["run", "--until", "current"]).await);
    assert!(said.contains("the mapping has changed") && said.contains("skip: true"), "{said}");
    let status = pipeline.output(&["status"]).await;
    let (shown, code) = (printed(&status), status.status.code());
    assert!(code == Some(1) && shown.contains("the mapping has changed"), "{code:?}: {shown}");
    let constraints = "SHOW CONSTRAINTS YIELD labelsOrTypes WHERE 'NcOther' IN labelsOrTypes RETURN count(*) AS n";
    assert_eq!(number(constraints).await, 0);
    // The line that the error names.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.yaml");
    std::fs::write(&path, "tables: {public.nc_others: {skip: true}}").unwrap();
    let path = path.to_str().unwrap();
    let goes_on = pipeline.output(&["run", "--until", "current", "-c", path]).await;
    assert!(goes_on.status.success(), "{}", super::log(&goes_on));
}

#[tokio::test]
async fn placeholders_and_incomplete_rows_of_other_pipelines_are_not_counted() {
    let schema = "CREATE TABLE mk_things (id int PRIMARY KEY, mk_other int); \
        INSERT INTO mk_things VALUES (1)";
    let others = Pipeline::new("marked", &schema.replace("mk_", "mo_")).await;
    others.catch_up().await;
    let pipeline = Pipeline::new("marked", schema).await;
    let counted = async || {
        let json: serde_json::Value =
            serde_json::from_str(&printed(&pipeline.output(&["status", "--json"]).await)).unwrap();
        (json["placeholders"].as_u64(), json["incomplete"].as_u64())
    };
    run("UNWIND range(1, 7) AS id CREATE (:MoThing:_Placeholder:_Incomplete {id: 100 + id})").await;
    assert_eq!(counted().await, (Some(0), Some(0)), "not started");
    pipeline.catch_up().await;
    assert_eq!(counted().await, (Some(0), Some(0)));
    run("UNWIND range(1, 3) AS id CREATE (n:MkThing:_Placeholder {id: 100 + id})").await;
    run("MATCH (n:MkThing {id: 101}) SET n:_Incomplete").await;
    assert_eq!(counted().await, (Some(3), Some(1)));
}

/// Both wrote the same nodes, and each removed what was no row of its own.
#[tokio::test]
async fn a_second_pipeline_with_the_labels_of_another_one_was_begun() {
    let schema = "CREATE TABLE spl_things (id int PRIMARY KEY)";
    let first = Pipeline::new("labels_first", schema).await;
    first.catch_up().await;
    let second = Pipeline::new("labels_second", schema).await;
    for command in [&["check"][..], &["run", "--until", "current"]] {
        let output = second.output(command).await;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let words = format!("the pipeline {} has the labels SplThing", first.name);
        assert!(said.contains(&words) && said.contains("label: NAME"), "{said}");
    }
    let other = second.configured("tables: {public.spl_things: {label: SplOther}}");
    other.catch_up().await;
}
