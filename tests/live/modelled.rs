//! Schemas as frameworks make them, each with the file that a modeller would write: copied and streamed, the graph is
//! what independent SQL says.

use neo4rs::Query;

use crate::support::{Pipeline, graph};

/// A schema of a framework, and what its file makes of it.
struct Modelled {
    name: &'static str,
    schema: &'static str,
    rows: &'static str,
    file: &'static str,
    /// Changes that are streamed.
    changes: &'static str,
    /// What SQL says, and what the graph says: lines of text.
    questions: &'static [(&'static str, &'static str)],
}

const DJANGO: Modelled = Modelled {
    name: "django",
    schema: "
        CREATE TABLE auth_user (id serial PRIMARY KEY, username text NOT NULL, password text, date_joined date);
        CREATE TABLE auth_group (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
        CREATE TABLE auth_user_groups (id bigserial PRIMARY KEY, user_id int NOT NULL REFERENCES auth_user ON DELETE \
            CASCADE, group_id int NOT NULL REFERENCES auth_group, UNIQUE (user_id, group_id));
        CREATE TABLE blog_post (id bigserial PRIMARY KEY, author_id int REFERENCES auth_user ON DELETE SET NULL, \
            editor_id int REFERENCES auth_user ON DELETE SET NULL, title text);
        CREATE TABLE django_session (session_key text PRIMARY KEY, session_data text);
        CREATE TABLE django_migrations (id serial PRIMARY KEY, name text);",
    rows: "
        INSERT INTO auth_user (username, password, date_joined) SELECT 'u' || g, md5('p'), '2024-01-01' FROM \
            generate_series(1, 20) g;
        INSERT INTO auth_group (name) VALUES ('staff'), ('readers');
        INSERT INTO auth_user_groups (user_id, group_id) SELECT g, 1 + g % 2 FROM generate_series(1, 20) g;
        INSERT INTO blog_post (author_id, editor_id, title) SELECT 1 + g % 20, 1, 't' || g FROM generate_series(1, 40) g;
        INSERT INTO django_session VALUES ('k', 'secret');",
    file: "
mapping:
  exclude: ['*.django_*']
  foreign_key_properties: false
  naming: {strip_prefix: [auth_, blog_], labels: 'Mdj{name}', properties: camelCase}
tables:
  '*.*': {properties: {password: false}}
  public.auth_user_groups: {relationship: {type: MEMBER_OF}}
  public.blog_post: {relationships: {author_id: {type: WROTE, direction: in}}}
",
    changes: "
        UPDATE auth_user_groups SET group_id = 2 WHERE user_id = 3;
        DELETE FROM auth_user WHERE id IN (5, 6);
        UPDATE blog_post SET author_id = 7, title = 'moved' WHERE id < 5;
        INSERT INTO django_session VALUES ('l', 'secret');
        INSERT INTO auth_user (username, password) VALUES ('new', 'p');",
    questions: &[
        (
            "SELECT concat_ws('|', id, username, coalesce(date_joined::text, '-')) FROM auth_user",
            "MATCH (n:MdjUser) WHERE n.password IS NULL \
             RETURN n.id + '|' + n.username + '|' + coalesce(toString(n.dateJoined), '-') AS r",
        ),
        (
            "SELECT concat_ws('|', user_id, group_id, id) FROM auth_user_groups",
            "MATCH (a:MdjUser)-[x:MEMBER_OF]->(b:MdjGroup) RETURN a.id + '|' + b.id + '|' + x.id AS r",
        ),
        (
            "SELECT concat_ws('|', author_id, id) FROM blog_post WHERE author_id IS NOT NULL",
            "MATCH (a:MdjUser)-[:WROTE]->(b:MdjPost) RETURN a.id + '|' + b.id AS r",
        ),
        (
            "SELECT concat_ws('|', editor_id, id) FROM blog_post WHERE editor_id IS NOT NULL",
            "MATCH (a:MdjUser)<-[:EDITOR]-(b:MdjPost) WHERE b.editorId IS NULL RETURN a.id + '|' + b.id AS r",
        ),
        (
            "SELECT 'none' WHERE false",
            "MATCH (n) WHERE any(label IN labels(n) WHERE label STARTS WITH 'MdjDjango' OR label = 'MdjSession') \
             RETURN 'some' AS r",
        ),
    ],
};

/// No foreign key at all.
const WORDPRESS: Modelled = Modelled {
    name: "wordpress",
    schema: "
        CREATE TABLE wp_users (\"ID\" bigint PRIMARY KEY, user_login text, user_pass text);
        CREATE TABLE wp_posts (\"ID\" bigint PRIMARY KEY, post_author bigint, post_title text);
        CREATE TABLE wp_comments (\"comment_ID\" bigint PRIMARY KEY, \"comment_post_ID\" bigint, user_id bigint, \
            comment_content text);
        CREATE TABLE wp_options (option_id bigint PRIMARY KEY, option_name text);",
    rows: "
        INSERT INTO wp_users SELECT g, 'u' || g, 'hash' FROM generate_series(1, 10) g;
        INSERT INTO wp_posts SELECT g, 1 + g % 10, 't' || g FROM generate_series(1, 30) g;
        INSERT INTO wp_comments SELECT g, 1 + g % 30, nullif(g % 11, 0), 'c' FROM generate_series(1, 60) g;",
    file: "
mapping:
  exclude: [public.wp_options]
  naming: {strip_prefix: [wp_], labels: 'Mwp{name}'}
tables:
  '*.*': {properties: {user_pass: false}}
  public.wp_posts: {relationships: {post_author: {type: WROTE, to: public.wp_users, direction: in}}}
  public.wp_comments:
    relationships:
      comment_post_ID: {type: 'ON', to: public.wp_posts}
      user_id: {to: public.wp_users}
",
    changes: "
        UPDATE wp_posts SET post_author = 2 WHERE \"ID\" < 6;
        DELETE FROM wp_comments WHERE \"comment_ID\" % 7 = 0;
        INSERT INTO wp_users VALUES (11, 'eleven', 'hash');
        UPDATE wp_comments SET user_id = 11 WHERE user_id = 3;",
    questions: &[
        (
            "SELECT concat_ws('|', \"ID\", user_login) FROM wp_users",
            "MATCH (n:MwpUser) WHERE n.user_pass IS NULL RETURN n.ID + '|' + n.user_login AS r",
        ),
        (
            "SELECT concat_ws('|', post_author, \"ID\") FROM wp_posts",
            "MATCH (a:MwpUser)-[:WROTE]->(b:MwpPost) RETURN a.ID + '|' + b.ID AS r",
        ),
        (
            "SELECT concat_ws('|', \"comment_ID\", \"comment_post_ID\", coalesce(user_id::text, '-')) FROM wp_comments",
            "MATCH (n:MwpComment)-[:ON]->(p:MwpPost) OPTIONAL MATCH (n)-[:USER]->(u:MwpUser) \
             RETURN n.comment_ID + '|' + p.ID + '|' + coalesce(toString(u.ID), '-') AS r",
        ),
    ],
};

/// Each key begins with the tenant.
const TENANTS: Modelled = Modelled {
    name: "tenants",
    schema: "
        CREATE TABLE tenants (id int PRIMARY KEY, name text);
        CREATE TABLE users (tenant_id int REFERENCES tenants, id int, name text, PRIMARY KEY (tenant_id, id));
        CREATE TABLE teams (tenant_id int REFERENCES tenants, id int, PRIMARY KEY (tenant_id, id));
        CREATE TABLE memberships (id bigserial PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, \
            user_id int NOT NULL, team_id int NOT NULL, role text, UNIQUE (tenant_id, user_id, team_id), \
            FOREIGN KEY (tenant_id, user_id) REFERENCES users, FOREIGN KEY (tenant_id, team_id) REFERENCES teams);
        CREATE TABLE orders (tenant_id int REFERENCES tenants, id int, buyer_id int, payer_id int, \
            PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, buyer_id) REFERENCES users, \
            FOREIGN KEY (tenant_id, payer_id) REFERENCES users);",
    rows: "
        INSERT INTO tenants SELECT g, 't' || g FROM generate_series(1, 3) g;
        INSERT INTO users SELECT t, g, 'u' || g FROM generate_series(1, 3) t, generate_series(1, 8) g;
        INSERT INTO teams SELECT t, g FROM generate_series(1, 3) t, generate_series(1, 2) g;
        INSERT INTO memberships (tenant_id, user_id, team_id, role) SELECT t, g, 1 + g % 2, 'r' FROM \
            generate_series(1, 3) t, generate_series(1, 8) g;
        INSERT INTO orders SELECT t, g, 1 + g % 8, nullif(g % 3, 0) FROM generate_series(1, 3) t, generate_series(1, 9) g;",
    file: "
mapping:
  naming: {labels: 'Mmt{name}'}
tables:
  'public.*': {labels: [MmtRow]}
  public.memberships: {relationship: {type: 'IN'}, properties: {role: rank}}
  public.orders: {relationships: {buyer_id: BOUGHT_BY, orders_tenant_id_fkey: false}}
",
    changes: "
        UPDATE memberships SET role = 'lead' WHERE user_id = 2;
        DELETE FROM memberships WHERE tenant_id = 2 AND user_id < 4;
        UPDATE orders SET buyer_id = 3, payer_id = NULL WHERE id = 4;
        INSERT INTO users VALUES (1, 99, 'new');",
    questions: &[
        (
            "SELECT concat_ws('|', tenant_id, id, name) FROM users",
            "MATCH (n:MmtUser:MmtRow) RETURN n.tenant_id + '|' + n.id + '|' + n.name AS r",
        ),
        (
            "SELECT concat_ws('|', tenant_id, user_id, team_id, role) FROM memberships",
            "MATCH (a:MmtUser)-[x:IN]->(b:MmtTeam) WHERE a.tenant_id = b.tenant_id \
             RETURN a.tenant_id + '|' + a.id + '|' + b.id + '|' + x.rank AS r",
        ),
        (
            "SELECT concat_ws('|', tenant_id, id, buyer_id) FROM orders WHERE buyer_id IS NOT NULL",
            "MATCH (o:MmtOrder)-[:BOUGHT_BY]->(u:MmtUser) RETURN o.tenant_id + '|' + o.id + '|' + u.id AS r",
        ),
        (
            "SELECT concat_ws('|', tenant_id, id, payer_id) FROM orders WHERE payer_id IS NOT NULL",
            "MATCH (o:MmtOrder)-[:USER]->(u:MmtUser) RETURN o.tenant_id + '|' + o.id + '|' + u.id AS r",
        ),
        ("SELECT 'none' WHERE false", "MATCH (:MmtOrder)-[:TENANT]->() RETURN 'some' AS r"),
    ],
};

async fn compare(modelled: &Modelled, pipeline: &Pipeline) {
    for (sql, cypher) in modelled.questions {
        let rows = pipeline.sql.query(*sql, &[]).await.expect("the query is right");
        let mut expected: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let rows =
            graph().rows(Query::new((*cypher).to_owned())).await.expect("the query is right");
        let mut found: Vec<String> = rows.iter().map(|row| row.get("r").expect("text")).collect();
        expected.sort();
        found.sort();
        assert_eq!(expected, found, "{}: {cypher}", modelled.name);
    }
}

async fn is_what_sql_says(modelled: &Modelled) {
    let pipeline = Pipeline::new(modelled.name, modelled.schema).await.configured(modelled.file);
    pipeline.sql.batch_execute(modelled.rows).await.expect("the rows are right");
    pipeline.catch_up().await;
    compare(modelled, &pipeline).await;
    pipeline.sql.batch_execute(modelled.changes).await.expect("the changes are right");
    pipeline.catch_up().await;
    compare(modelled, &pipeline).await;
    let verified = pipeline.output(&["verify"]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn a_django_schema_is_what_a_modeller_wants() {
    is_what_sql_says(&DJANGO).await;
}

#[tokio::test]
async fn a_wordpress_schema_is_what_a_modeller_wants() {
    is_what_sql_says(&WORDPRESS).await;
}

#[tokio::test]
async fn a_schema_of_tenants_is_what_a_modeller_wants() {
    is_what_sql_says(&TENANTS).await;
}
