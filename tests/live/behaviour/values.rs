//! Values that a session's settings would change.

use crate::support::{Pipeline, holds};

#[tokio::test]
async fn settings_of_database_and_role_change_no_value_copied_or_streamed() {
    let schema = "CREATE TABLE gs_things (id int PRIMARY KEY, day date, at timestamptz, span interval, bytes bytea, \
        number float8, price money, name text)";
    let pipeline = Pipeline::new("sessions", schema).await;
    let settings = format!(
        "ALTER DATABASE {0} SET datestyle = 'German'; ALTER DATABASE {0} SET timezone = 'Asia/Tokyo'; \
         ALTER DATABASE {0} SET intervalstyle = 'sql_standard'; ALTER DATABASE {0} SET bytea_output = 'escape'; \
         ALTER ROLE postgres IN DATABASE {0} SET extra_float_digits = -10; \
         ALTER ROLE postgres IN DATABASE {0} SET statement_timeout = '1s'; \
         ALTER ROLE postgres IN DATABASE {0} SET search_path = nowhere",
        pipeline.name
    );
    pipeline.sql.batch_execute(&settings).await.unwrap();
    let row = |id: i32| {
        format!(
            "INSERT INTO gs_things VALUES ({id}, '2024-03-04', '2024-03-04 05:06:07+00', '1 year 2 days 3 hours', \
             '\\x00ff', 0.1::float8 + 0.2::float8, '12.34', 'x')"
        )
    };
    pipeline.sql.batch_execute(&row(1)).await.unwrap();
    pipeline.catch_up().await;
    pipeline.sql.batch_execute(&row(2)).await.unwrap();
    pipeline.catch_up().await;
    let right = "MATCH (t:GsThing) WITH count(t) AS rows, collect(t) AS all \
        RETURN rows = 2 AND all(t IN all WHERE t.day = date('2024-03-04') \
        AND t.at = datetime('2024-03-04T05:06:07Z') AND t.span = duration('P1Y2DT3H') \
        AND t.number = 0.30000000000000004 AND t.name = 'x') \
        AND all[0].bytes = all[1].bytes AND all[0].price = all[1].price AS yes";
    assert!(holds(right).await);
}
