//! Rows that the graph refuses, of a topic with several partitions.

use super::partitions::Spread;
use crate::{
    reconcile::differing,
    support::{eventually, output},
};

async fn command(spread: &Spread, arguments: &[&str]) -> (Option<i32>, String) {
    let mut program = spread.pipeline.command(arguments);
    program.arg("-c").arg(spread.config.path());
    let output = output(program).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{arguments:?}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[tokio::test]
async fn a_row_that_is_refused_waits_in_its_partition() {
    let schema = "CREATE TABLE ltk_urls (url text PRIMARY KEY, n int); \
        INSERT INTO ltk_urls SELECT 'u' || g, g FROM generate_series(1, 30) g";
    let spread = Spread::setting_aside("letters_spread", schema, "partitions: 3").await;
    let _publish = spread.start("publish");
    let apply = spread.start("apply");
    let _other = spread.start("apply");
    eventually("it is copied", "RETURN COUNT { (:LtkUrl) } = 30 AS yes").await;
    let rows = "INSERT INTO ltk_urls SELECT chr(96 + g) || repeat('x', 9000), g FROM generate_series(1, 4) g; \
        INSERT INTO ltk_urls SELECT 'v' || g, g FROM generate_series(1, 30) g; \
        UPDATE ltk_urls SET n = 7 WHERE length(url) > 8000";
    spread.pipeline.sql.batch_execute(rows).await.unwrap();
    eventually("the others are there", "RETURN COUNT { (:LtkUrl) } = 60 AS yes").await;
    let four = "RETURN COUNT { (:_DeadLetter {pipeline: 'PIPELINE'}) } = 4 AS yes";
    eventually("four wait", &four.replace("PIPELINE", &spread.pipeline.name)).await;
    apply.kill();
    let shorter = "UPDATE ltk_urls SET url = left(url, 5) WHERE length(url) > 8000";
    spread.pipeline.sql.batch_execute(shorter).await.unwrap();
    let (_, listed) = command(&spread, &["dead-letters", "list"]).await;
    assert!(listed.contains("row-"), "{listed}");
    let (exit, said) = command(&spread, &["dead-letters", "retry", "--all"]).await;
    assert_eq!(exit, Some(0), "{said}");
    // The rows have moved to keys of other partitions.
    eventually("all are there", "RETURN COUNT { (:LtkUrl {n: 7}) } >= 4 AS yes").await;
    let (exit, said) = command(&spread, &["dead-letters", "retry", "--all"]).await;
    assert_eq!(exit, Some(0), "{said}");
    let (is_right, findings) = spread.compared("verify").await;
    assert!(is_right && differing(&findings) == 0, "{findings:#}");
    let (_, listed) = command(&spread, &["dead-letters", "list"]).await;
    assert!(listed.contains("no dead letters"), "{listed}");
}
