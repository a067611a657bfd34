//! The digest, the plan and the file that `init` writes.

use wal2graph::mapping::{Mapping, Plan, compile, render_yaml};

use super::catalogs::{TableExt, catalog, edited, edits, mapped, northwind, table, unique};

#[test]
fn the_digest_is_stable() {
    let digest = mapped(northwind()).digest();
    assert_eq!(digest.len(), 64);
    let mut shuffled = northwind();
    shuffled.reverse();
    for (oid, table) in shuffled.iter_mut().enumerate() {
        table.oid = 50_000 + u32::try_from(oid).expect("small");
        for key in &mut table.foreign_keys {
            key.deferrable = true;
            key.name.push('x');
        }
    }
    assert_eq!(
        mapped(shuffled).digest(),
        digest,
        "order, object ids and constraints change no node"
    );
}

#[test]
fn the_digest_changes_with_what_is_made() {
    let plain = mapped(northwind()).digest();
    for edit in [
        "label: Article",
        "labels: [Thing]",
        "properties: {exclude: [unit_price]}",
        "properties: {rename: {unit_price: price}}",
        "types: {unit_price: float}",
        "relationships: []",
        "relationships: [{type: X, columns: [category_id], to: public.categories}]",
        "skip: true",
    ] {
        let yaml = format!("{{tables: {{public.products: {{{edit}}}}}}}");
        assert_ne!(edited(northwind(), &yaml).digest(), plain, "{edit}");
    }
}

#[test]
fn what_is_compared_beside_its_property_is_shown() {
    let amounts = table("amounts", "amount numeric, note text").pk("amount");
    let mapping = mapped([amounts.clone()]);
    let plan = Plan::new(&Ok(mapping.clone())).to_string();
    let unique =
        "unique: _key_amount String (what amount is compared by)\n      amount String, note String";
    assert!(plan.contains(unique), "{plan}");
    let file = render_yaml(&catalog([amounts]), &mapping);
    assert!(file.contains("# keys and references compare amount by _key_amount"), "{file}");
}

fn assert_round_trip(tables: Vec<wal2graph::catalog::Table>, yaml: &str) {
    let catalog = catalog(tables);
    let first: Mapping = compile(&catalog, &edits(yaml)).expect("a mapping");
    let mut written = render_yaml(&catalog, &first);
    if let Some(defaults) = yaml.lines().find(|line| line.starts_with("defaults:")) {
        written = format!("{defaults}\n{written}");
    }
    let again = compile(&catalog, &edits(&written)).expect("a mapping");
    assert_eq!(again, first, "{written}");
}

#[test]
fn what_is_written_gives_the_same_mapping_again() {
    assert_round_trip(northwind(), "{}");
    assert_round_trip(vec![], "{}");
    assert_round_trip(vec![table("log", "line text")], "{}");
    assert_round_trip(
        vec![table("items", "id int4").pk("id")],
        "{tables: {public.items: {skip: true}}}",
    );
    let edits = "defaults: {numeric: auto, foreign_key_properties: false}
tables:
  public.products:
    labels: [Sellable]
    properties: {include: [product_name, supplier_id, unit_price], exclude: [unit_price], rename: {product_name: 'a: b'}}
    relationships:
      - {type: SUPPLIES, columns: [supplier_id], to: public.suppliers, direction: in}
  public.order_details:
    types: {unit_price: string}
    relationship:
      type: 'ON'
      from: {columns: [product_id], to: public.products}
      to: {columns: [order_id], to: public.orders}
  public.shippers: {relationships: []}
";
    assert_round_trip(northwind(), edits);
}

#[test]
fn nasty_names_are_written_so_that_they_are_read_again() {
    let nasty = [
        "a: b",
        "- c",
        "#d",
        "\"quoted\"",
        "it's",
        "{e}",
        "null",
        "yes",
        "123",
        "1e5",
        "ü ñ",
        "tab\tbed",
        "carriage\rreturn",
        "bell\u{7}",
        "line\u{2028}separator",
        "next\u{85}line",
        "new\nline",
        "back\\slash",
        "*star",
        "&and",
        "@at",
        "%per",
        "?q",
        " lead",
        "trail ",
        "q`b",
        "~",
        "with.dot",
    ];
    let tables = nasty.iter().map(|&name| {
        let mut made = table("x", "id int4, x text, y text!").pk("id");
        made.name.name = format!("x{name}");
        made.columns[1].name = name.to_owned();
        made.columns[2].name = format!("{name}2");
        made.comment = Some(format!("{name}\nand: more"));
        made.unique_keys.push(unique("y", &format!("{name}2")));
        made
    });
    assert_round_trip(tables.collect(), "{}");
}

#[test]
fn a_foreign_key_to_unique_columns_and_a_table_without_a_key_are_written_too() {
    let users = table("users", "id int4, email text").pk("id");
    let users = users.with(|it| it.unique_keys.push(unique("users_email", "email")));
    let posts = table("posts", "id int4, author text").pk("id").fk("author", "users", "email");
    assert_round_trip(vec![users, posts, table("log", "line text")], "{}");
}

#[test]
fn the_plan_says_what_will_be_made() {
    let mut tables = northwind();
    tables.push(table("log", "line text"));
    tables.push(table("odd", "id int4, thing mystery, customer varchar").pk("id"));
    let yaml = "{tables: {public.odd: {relationships: [{type: MEANS, columns: [customer], to: public.customers}]},
        public.region: {skip: true}}}";
    let plan = Plan::new(&compile(&catalog(tables), &edits(yaml)));
    let text = plan.to_string();
    for expected in [
        "(:Product)  from public.products",
        "unique: product_id Integer",
        "unit_price String",
        "(:Product)-[:CATEGORY]->(:Category)  from public.products (category_id)",
        "foreign key products_category_id_fkey\n",
        "(:Order)-[:ORDER_DETAILS]->(:Product)  from public.order_details",
        "told apart by its ends",
        "(:Odd)-[:MEANS]->(:Customer)  from public.odd (customer)",
        "no foreign key: a missing target becomes a placeholder",
        "public.log is left out: it has no primary key",
        "public.region is left out: `skip: true`",
        "\"thing\" of type mystery becomes its text",
        "territories_region_id_fkey is no relationship",
    ] {
        assert!(text.contains(expected), "{expected}\n---\n{text}");
    }
    assert_eq!(plan.left_out.iter().map(|note| note.unexpected).collect::<Vec<_>>(), [true, false]);
    let json = serde_json::to_value(&plan).expect("serialisable");
    let relationships = json["relationships"].as_array().expect("a list");
    let reports_to =
        relationships.iter().find(|it| it["type"] == "REPORTS_TO").expect("it is there");
    assert_eq!(reports_to["source"], "columns");
    assert_eq!(reports_to["foreign_key"], "employees_reports_to_fkey");
}

#[test]
fn a_name_with_a_line_end_made_a_line_of_its_own() {
    let odd = table("new\nline", "id int4, a\rb text").pk("id");
    let odd = odd.with(|it| it.columns[1].generated = true).fk("a\rb", "customers", "id");
    let tables = vec![odd, table("left\n  out", "a\u{1b}b text"), super::catalogs::customers()];
    let plan = Plan::new(&compile(&catalog(tables.clone()), &edits("{}")));
    let text = plan.to_string();
    assert!(
        text.contains(r"from public.new\nline") && text.contains(r"public.left\n  out"),
        "{text}"
    );
    assert!(text.contains(r"a\rb") && !text.contains('\r'), "{text}");
    let yaml = r#"{tables: {"public.left\n  out": {label: L}}}"#;
    let refused = Plan::new(&compile(&catalog(tables), &edits(yaml)));
    assert_eq!(refused.to_string().lines().count(), 2, "{refused}");
}

#[test]
fn two_foreign_keys_that_say_the_same_are_said_to_be_one_relationship() {
    let two = table("orders", "id int4, customer_id int4").pk("id");
    let two = two.fk("customer_id", "customers", "id").fk("customer_id", "customers", "id");
    let two = two.with(|it| it.foreign_keys[1].name = "again".to_owned());
    let plan = Plan::new(&compile(&catalog(vec![two, super::catalogs::customers()]), &edits("{}")));
    let [note] = &plan.warnings[..] else { panic!("{plan}") };
    let expected =
        "foreign key again has the columns and the target of foreign key orders_customer_id_fkey";
    assert!(note.message.contains(expected), "{plan}");
    assert_eq!(plan.relationships.len(), 1, "{plan}");
}

#[test]
fn a_refused_plan_says_why() {
    let tables = [table("people", "id int4").pk("id"), table("person", "id int4").pk("id")];
    let plan = Plan::new(&compile(&catalog(tables), &edits("{}")));
    assert!(plan.nodes.is_empty());
    assert!(
        plan.to_string().contains("To be mended first (1)\n  public.person: its label \"Person\""),
        "{plan}"
    );
}

#[test]
fn several_partitions_have_their_own_plan_and_refuse_what_needs_the_order() {
    let users = table("users", "id int4, email text").pk("id");
    let users = users.with(|it| it.unique_keys.push(unique("users_email", "email")));
    let posts = table("posts", "id int4, author text, by int4").pk("id");
    let posts = posts.fk("author", "users", "email").fk("by", "users", "id");
    let compiled = compile(&catalog(vec![users, posts]), &edits("{}"));
    let (one, several) = (
        Plan::new(&compiled),
        Plan::through_partitions(&compiled, Mapping::refusals_of_partitions),
    );
    assert_eq!((one.partitions.len(), one.refusals.len()), (0, 0), "{one}");
    let [refusal] = &several.refusals[..] else { panic!("{several}") };
    assert!(refusal.contains("public.posts") && refusal.contains("(author)"), "{refusal}");
    assert!(several.to_string().contains("deleted and inserted"), "{several}");
    assert_eq!(one.relationships, several.relationships);
    assert_eq!(compiled.expect("a mapping").refusals_of_partitions().len(), 1);
    assert_eq!(mapped(northwind()).refusals_of_partitions(), []);
}

#[test]
fn rows_are_found_by_keys_references_ends_and_what_references_lead_to() {
    let users = table("users", "id int4, code numeric!, note text").pk("id");
    let users = users.with(|it| it.unique_keys.push(unique("users_code", "code")));
    let logins =
        table("logins", "id int4, code numeric, at date").pk("id").fk("code", "users", "code");
    let tables = northwind().into_iter().chain([users, logins]);
    let found_by = mapped(tables).found_by();
    let of = |table: &str| {
        let (_, found_by) = found_by.iter().find(|(name, _)| name.name == table).unwrap();
        (found_by.key.join(" "), found_by.references.join(" "))
    };
    let is = |key: &str, references: &str| (key.to_owned(), references.to_owned());
    assert_eq!(of("products"), is("product_id", "category_id supplier_id"));
    assert_eq!(of("order_details"), is("order_id product_id", "order_id product_id"));
    assert_eq!(of("users"), is("id", "code"), "a reference leads to it");
    assert_eq!(of("logins"), is("id", "code"));
}

/// The partition is that of the key's text, and the graph finds nodes by PostgreSQL's equality.
#[test]
fn keys_whose_equal_values_have_several_texts_need_one_partition() {
    let is_refused = |type_name: &str, modifier: i32| {
        let things = table("things", &format!("id {type_name}, name text")).pk("id");
        let things = things.with(|it| it.columns[0].type_modifier = modifier);
        let mapping = mapped(vec![things]);
        assert_eq!(mapping.refusals_of_keys(|_| false), []);
        let refusals = mapping.refusals_of_keys(|_| true);
        assert!(refusals.iter().all(|it| it.to_string().contains("key column \"id\"")));
        !refusals.is_empty()
    };
    for type_name in ["numeric", "float8", "interval", "jsonb", "bpchar"] {
        assert!(is_refused(type_name, -1), "{type_name}");
    }
    for type_name in ["int4", "text", "timestamptz", "timetz", "bytea", "daterange"] {
        assert!(!is_refused(type_name, -1), "{type_name}");
    }
    // numeric(10, 2) and char(3).
    assert!(!is_refused("numeric", (10 << 16 | 2) + 4) && !is_refused("bpchar", 3 + 4));
}

#[test]
fn references_that_names_and_types_suggest_are_comments_in_what_init_writes() {
    let tables = || {
        vec![
            table("users", "id int8, name text, manager_id int8").pk("id"),
            table(
                "blog_posts",
                "id int4, user_id int4, parent_id int4, other_id int4, name_id text",
            )
            .pk("id"),
            table("comments", "id int4, post_id int4, user_id text").pk("id"),
            table("likes", "user_id int8, n int4").pk("user_id").fk("user_id", "users", "id"),
        ]
    };
    let written = render_yaml(&catalog(tables()), &mapped(tables()));
    let suggested: Vec<&str> =
        written.lines().filter(|line| line.starts_with("    #   ")).collect();
    let expected = [
        "    #   user_id: {to: public.users}",
        "    #   parent_id: {to: public.blog_posts}",
        "    #   post_id: {to: public.blog_posts}",
    ];
    assert_eq!(suggested, expected, "{written}");
    let used = written.replace(
        "    # No foreign key, but name and type fit. For `relationships`, if it is so:",
        "    relationships:",
    );
    let used = compile(&catalog(tables()), &edits(&used.replace("    #   ", "      ")))
        .expect("a mapping");
    let made = Plan::new(&Ok(used)).relationships;
    let types: Vec<&str> = made.iter().map(|it| it.relationship_type.as_str()).collect();
    assert_eq!(types, ["PARENT", "USER", "POST", "USER"]);
}

#[test]
fn a_plan_without_relationships_says_what_to_do() {
    let tables = || {
        vec![table("users", "id int4").pk("id"), table("posts", "id int4, user_id int4").pk("id")]
    };
    let plan = Plan::new(&Ok(mapped(tables()))).to_string();
    assert!(
        plan.contains("2 nodes, no relationship: no foreign key leads from one to another."),
        "{plan}"
    );
    let linked = Plan::new(&Ok(mapped(northwind()))).to_string();
    assert!(!linked.contains("no relationship:"), "{linked}");
}

#[test]
fn a_table_that_only_joins_two_others_is_said_to_be_one_that_may_be_relationships() {
    let tables = |is_unique: bool, is_null: bool| {
        let member = if is_null {
            "id int8, user_id int4, group_id int4!"
        } else {
            "id int8, user_id int4!, group_id int4!"
        };
        let member = table("members", member)
            .pk("id")
            .fk("user_id", "users", "id")
            .fk("group_id", "groups", "id");
        let member = member.with(|it| {
            it.unique_keys.extend(is_unique.then(|| unique("members_both", "group_id, user_id")));
        });
        vec![table("users", "id int4").pk("id"), table("groups", "id int4").pk("id"), member]
    };
    let line = "    # It joins two tables: `relationship: {}`";
    let written = |tables: Vec<_>| render_yaml(&catalog(tables.clone()), &mapped(tables));
    assert!(written(tables(true, false)).contains(line));
    assert!(!written(tables(false, false)).contains(line), "two rows may join the same nodes");
    assert!(!written(tables(true, true)).contains(line), "a row may join nothing");
    let referred =
        table("notes", "id int4, member_id int8").pk("id").fk("member_id", "members", "id");
    let referred: Vec<_> = tables(true, false).into_iter().chain([referred]).collect();
    assert!(!written(referred).contains(line), "a relationship is no target");
}
