//! Which tables are chosen, what all names are made by, and that a graph keeps the names that it has.

use wal2graph::catalog::Table;
use wal2graph::mapping::{Edits, Kept, Mapping, Warning, compile};

use super::catalogs::{
    TableExt, catalog, edited, edits, mapped, name, node, northwind, relationship, table, unique,
};

fn plain(name: &str) -> Table {
    table(name, "id int4").pk("id")
}

fn types_of(mapping: &Mapping, table: &str) -> Vec<String> {
    node(mapping, table).references.iter().map(|it| it.relationship_type.clone()).collect()
}

fn label(mapping: &Mapping, table: &str) -> String {
    node(mapping, table).label.clone()
}

#[test]
fn tables_are_chosen_by_schema_and_pattern_and_a_key_of_their_own_wins() {
    let tables = || ["a", "a_backup", "sales.b", "sales.b_backup", "auth.c", "auth.d"].map(plain);
    let chosen = |yaml: &str| {
        let mapping = edited(tables(), yaml);
        mapping.published_tables().map(|it| it.in_file()).collect::<Vec<_>>()
    };
    assert_eq!(
        chosen("{defaults: {include: [public, 'sales.*'], exclude: ['*.*_backup']}}"),
        ["public.a", "sales.b"]
    );
    assert_eq!(chosen("{defaults: {exclude: [auth, sales, public.a_backup]}}"), ["public.a"]);
    let named =
        "{defaults: {include: [public.a], exclude: [public.a]}, tables: {auth.c: {label: C}}}";
    assert_eq!(chosen(named), ["auth.c"]);
    let left_out =
        edited(tables(), "{defaults: {include: [public], exclude: [public.a]}}").warnings;
    let said: Vec<String> = left_out.iter().map(Warning::to_string).collect();
    assert!(said.contains(&"public.a is left out: `mapping.exclude` has it: public.a".to_owned()));
    assert!(said.contains(&"auth.c is left out: `mapping.include` does not have it".to_owned()));
    assert!(left_out.iter().all(Warning::is_expected));
}

#[test]
fn a_pattern_says_what_its_tables_do_not_say_themselves() {
    let tables = [
        table("users", "id int4, created_at date, secret text, name text").pk("id"),
        table("groups", "id int4, created_at date").pk("id"),
        table("stamps", "created_at date, id int4").pk("created_at"),
        table("members", "user_id int4!, group_id int4!, secret text")
            .pk("user_id, group_id")
            .fk("user_id", "users", "id")
            .fk("group_id", "groups", "id"),
    ];
    let yaml = "
tables:
  'public.*': {labels: [Public], properties: {created_at: false, secret: hidden}}
  'public.u*': {properties: {secret: false, name: full_name}}
  public.groups: {properties: {created_at: since}, labels: [Group2]}
";
    let mapping = edited(tables, yaml);
    assert_eq!(node(&mapping, "users").properties, ["full_name"], "the longer key wins");
    assert_eq!(node(&mapping, "users").extra_labels, ["Public"]);
    assert_eq!(node(&mapping, "groups").properties, ["since"]);
    assert_eq!(node(&mapping, "groups").extra_labels, ["Group2"]);
    assert_eq!(node(&mapping, "stamps").key, ["created_at"], "a key's column is left alone");
    assert_eq!(relationship(&mapping, "members").properties, ["hidden"], "it is no node by that");
}

#[test]
fn names_follow_the_rules_of_the_file() {
    let tables = [
        table("wp_users", "id int4, user_login text").pk("id"),
        table("wp_posts", "id int4, author_id int4, postTitle text").pk("id").fk(
            "author_id",
            "wp_users",
            "id",
        ),
        table("wp_likes", "user_id int4!, post_id int4!, liked_at date")
            .pk("user_id, post_id")
            .fk("user_id", "wp_users", "id")
            .fk("post_id", "wp_posts", "id"),
    ];
    let yaml = "
defaults:
  naming: {strip_prefix: [wp_, w], labels: 'Blog{name}', types: '{table}_{name}', properties: camelCase}
";
    let mapping = edited(tables, yaml);
    assert_eq!(label(&mapping, "wp_users"), "BlogUser");
    assert_eq!(node(&mapping, "wp_users").properties, ["userLogin"]);
    assert_eq!(node(&mapping, "wp_posts").properties, ["authorId", "postTitle"]);
    assert_eq!(types_of(&mapping, "wp_posts"), ["POST_AUTHOR"]);
    let likes = relationship(&mapping, "wp_likes");
    assert_eq!(
        (likes.relationship_type.as_str(), &likes.properties[..]),
        ("USER_LIKES", &["likedAt".to_owned()][..])
    );
    let schema =
        edited([plain("sales.orders")], "{defaults: {naming: {labels: '{schema}_{name}'}}}");
    assert_eq!(label(&schema, "sales.orders"), "Sales_Order");
}

#[test]
fn a_rule_never_makes_two_things_of_one_name() {
    let strip = "{defaults: {naming: {strip_prefix: [wp_], properties: camelCase}}}";
    let mapping = edited([plain("wp_posts"), plain("posts")], strip);
    assert_eq!(
        (label(&mapping, "wp_posts"), label(&mapping, "posts")),
        ("WpPost".into(), "Post".into())
    );
    let twice = table(
        "items",
        "id int4, unit_price int4, unitPrice int4, _price int4, ___ int4, price int4",
    );
    let twice = twice.pk("id");
    let yaml = "{defaults: {naming: {properties: camelCase}}, tables: {public.items: {properties: {___: line}}}}";
    let mapping = compile(&catalog([twice]), &edits(yaml));
    // `_price` has no other name to take, and is refused as without the rule.
    assert_eq!(mapping.expect_err("a name with an underscore").len(), 1);
}

#[test]
fn plurals_that_read_oddly_are_right() {
    for (given, expected) in [
        ("abuses", "Abuse"),
        ("reuses", "Reuse"),
        ("muses", "Muse"),
        ("refuses", "Refuse"),
        ("lenses", "Lens"),
        ("calories", "Calorie"),
        ("selfies", "Selfie"),
        ("goods", "Goods"),
        ("skis", "Ski"),
        ("taxis", "Taxi"),
        ("wikis", "Wiki"),
        ("redirect_uris", "RedirectUri"),
        ("tag_aliases", "TagAlias"),
    ] {
        assert_eq!(label(&mapped([plain(given)]), given), expected, "{given}");
    }
}

#[test]
fn names_that_run_together_are_told_apart_by_their_target() {
    let address = || table("address", "addressid int4").pk("addressid");
    for (column, target, expected) in [
        ("addressid", address(), "ADDRESS"),
        ("shiptoaddressid", address(), "SHIPTO_ADDRESS"),
        (
            "salespersonid",
            table("salesperson", "businessentityid int4").pk("businessentityid"),
            "SALESPERSON",
        ),
        (
            "businessentityid",
            table("person", "businessentityid int4").pk("businessentityid"),
            "BUSINESSENTITY",
        ),
        ("customerid", plain("customers"), "CUSTOMER"),
        ("paid", plain("customers"), "PAID"),
        ("bid", plain("customers"), "BID"),
        ("id", plain("customers"), "CUSTOMER"),
    ] {
        let key = target.primary_key.as_ref().unwrap().columns[0].clone();
        let owner = table("owners", &format!("pk int4, {column} int4")).pk("pk");
        let owner = owner.fk(column, &target.name.name, &key);
        assert_eq!(types_of(&mapped([owner, target]), "owners"), [expected], "{column}");
    }
}

#[test]
fn references_of_a_tenant_are_called_by_what_differs() {
    let orders = table(
        "orders",
        "tenant_id int4!, id int4!, billing_address_id int4, shipping_address_id int4",
    );
    let orders = orders
        .pk("tenant_id, id")
        .fk("tenant_id, billing_address_id", "addresses", "tenant_id, id")
        .fk("tenant_id, shipping_address_id", "addresses", "tenant_id, id");
    let addresses = table("addresses", "tenant_id int4!, id int4!").pk("tenant_id, id");
    let mapping = mapped([orders, addresses]);
    assert_eq!(types_of(&mapping, "orders"), ["BILLING_ADDRESS", "SHIPPING_ADDRESS"]);
}

/// The file's edits, with the names that a graph has by a mapping.
fn keeping(yaml: &str, mapping: &Mapping) -> Edits {
    let mut kept = Kept::default();
    for table in &mapping.tables {
        kept.add(
            table.oid,
            table.name.in_file(),
            Some(mapping.names(table.oid).cloned().unwrap_or_default()),
        );
    }
    Edits { kept, ..edits(yaml) }
}

/// The mapping of a graph that followed these tables, now that there are more.
fn followed(before: Vec<Table>, more: Vec<Table>, yaml: &str) -> Mapping {
    let first = edited(before.clone(), yaml);
    let all = catalog(before.into_iter().chain(more));
    let again = compile(&all, &keeping(yaml, &first)).unwrap_or_else(|error| panic!("{error:#?}"));
    for (index, table) in first.model.iter() {
        let name = &first.columns(index).name;
        let now = again.table_index(&name.schema, &name.name).expect("it is mapped");
        assert_eq!(again.model.label(now), first.model.label(index), "{table:?}");
    }
    again
}

#[test]
fn a_new_table_renamed_the_label_of_an_old_one() {
    let mapping = followed(vec![plain("sales.customer")], vec![plain("archive.customer")], "{}");
    assert_eq!(label(&mapping, "sales.customer"), "Customer");
    assert_eq!(label(&mapping, "archive.customer"), "ArchiveCustomer");
    let mapping = followed(vec![plain("sales.customer")], vec![plain("customer")], "{}");
    assert_eq!(label(&mapping, "customer"), "PublicCustomer", "the name is taken");
    let both = vec![plain("sales.customer"), plain("archive.customer")];
    let first = mapped(both.clone());
    let alone = catalog([plain("sales.customer")]);
    let mapping = compile(&alone, &keeping("{}", &first)).unwrap();
    assert_eq!(label(&mapping, "sales.customer"), "SalesCustomer", "nor does one that goes");
}

#[test]
fn a_new_foreign_key_renamed_the_type_of_an_old_one() {
    let teams = plain("teams");
    let games =
        table("games", "id int4, team int4, team_id int4").pk("id").fk("team", "teams", "id");
    let first = mapped([teams.clone(), games.clone()]);
    assert_eq!(types_of(&first, "games"), ["TEAM"]);
    let both = catalog([teams, games.fk("team_id", "teams", "id")]);
    let mapping = compile(&both, &keeping("{}", &first)).unwrap();
    assert_eq!(types_of(&mapping, "games"), ["TEAM", "TEAM_ID"]);
    assert_eq!(types_of(&compile(&both, &edits("{}")).unwrap(), "games"), ["TEAM", "TEAM_ID"]);
    // The other way round, the old one is the one that would be called otherwise.
    let games =
        table("games", "id int4, team int4, team_id int4").pk("id").fk("team_id", "teams", "id");
    let first = mapped([plain("teams"), games.clone()]);
    assert_eq!(types_of(&first, "games"), ["TEAM"]);
    let both = catalog([plain("teams"), games.fk("team", "teams", "id")]);
    let mapping = compile(&both, &keeping("{}", &first)).unwrap();
    assert_eq!(types_of(&mapping, "games"), ["TEAM", "TEAM_2"]);
}

#[test]
fn names_are_kept_only_under_the_same_rules_and_of_the_same_table() {
    let before = vec![plain("sales.customer"), plain("archive.customer")];
    let first = mapped(before.clone());
    let strip =
        compile(&catalog(before), &keeping("{defaults: {naming: {labels: 'X{name}'}}}", &first));
    assert_eq!(label(&strip.unwrap(), "sales.customer"), "SalesXCustomer");
    let renamed = plain("sales.customer").with(|it| it.name = name("sales.client"));
    let mapping = compile(&catalog([renamed]), &keeping("{}", &first)).unwrap();
    assert_eq!(label(&mapping, "sales.client"), "Client");
}

#[test]
fn what_the_file_named_is_inferred_once_it_is_out_of_the_file() {
    let tables = || {
        [
            plain("teams"),
            table("games", "id int4, home_id int4").pk("id").fk("home_id", "teams", "id"),
        ]
    };
    let named =
        "{tables: {public.teams: {label: Club}, public.games: {relationships: {home_id: HOSTS}}}}";
    let first = edited(tables(), named);
    assert_eq!(
        (label(&first, "teams").as_str(), &types_of(&first, "games")[..]),
        ("Club", &["HOSTS".to_owned()][..])
    );
    let mapping = compile(&catalog(tables()), &keeping("{}", &first)).unwrap();
    assert_eq!(
        (label(&mapping, "teams").as_str(), &types_of(&mapping, "games")[..]),
        ("Team", &["HOME".to_owned()][..])
    );
}

#[test]
fn a_graph_of_an_earlier_build_keeps_the_names_that_it_has() {
    let tables = || {
        let owner = table("owners", "id int4, customerid int4").pk("id").fk(
            "customerid",
            "customers",
            "id",
        );
        [plain("abuses"), plain("customers"), owner]
    };
    let mut kept = Kept::default();
    for table in tables() {
        kept.add(table.oid, table.name.in_file(), None);
    }
    let earlier = Edits { kept, ..Edits::default() };
    let all = catalog(tables().into_iter().chain([plain("muses")]));
    let mapping = compile(&all, &earlier).unwrap();
    assert_eq!(
        (label(&mapping, "abuses"), label(&mapping, "muses")),
        ("Abus".into(), "Muse".into())
    );
    assert_eq!(types_of(&mapping, "owners"), ["CUSTOMERID"]);
    // From its first start on, they are kept, whatever another partition's checkpoint lacks.
    let mut again = keeping("{}", &mapping);
    for table in tables() {
        again.kept.add(table.oid, table.name.in_file(), None);
    }
    assert_eq!(compile(&all, &again).unwrap(), mapping);
}

#[test]
fn northwind_has_the_same_names_whatever_comes() {
    let more = northwind().into_iter().map(|table| {
        table.with(|it| {
            it.name.schema = "archive".to_owned();
            it.oid += 5_000_000;
            for key in &mut it.foreign_keys {
                key.target.schema = "archive".to_owned();
            }
        })
    });
    let mut more: Vec<Table> = more.collect();
    more.push(
        table("notes", "id int4, email text")
            .pk("id")
            .with(|it| it.unique_keys.push(unique("n", "email"))),
    );
    followed(northwind(), more, "{}");
}
