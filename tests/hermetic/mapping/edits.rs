//! Single edits: what a file does not name stays inferred.

use wal2graph::catalog::Table;
use wal2graph::graph::model::{Direction, RelationshipKey};
use wal2graph::mapping::{EditRefusal, Mapping, Refusal, Warning, compile, render_yaml};

use super::catalogs::{
    TableExt, catalog, columns, customers, edited, edits, mapped, node, northwind, orders, refused,
    relationship, table, unique,
};

/// The types of a table's relationships, with `<` before those that lead to it.
fn types_of(mapping: &Mapping, table: &str) -> Vec<String> {
    let references = node(mapping, table).references.iter().map(|it| match it.direction {
        Direction::Outgoing => it.relationship_type.clone(),
        Direction::Incoming => format!("<{}", it.relationship_type),
    });
    references.collect()
}

/// Games with three foreign keys to teams, and one to a place by two columns.
fn games() -> Vec<Table> {
    let games =
        table("games", "id int4, home_id int4, guest_id int4, umpire text, land int4, town int4");
    let games = games.pk("id").fk("home_id", "teams", "id").fk("guest_id", "teams", "id").fk(
        "land, town",
        "places",
        "land, town",
    );
    let people = table("people", "id int4, name text!").pk("id");
    vec![
        games,
        table("teams", "id int4").pk("id"),
        table("places", "land int4!, town int4!").pk("land, town"),
        people.with(|it| it.unique_keys.push(unique("people_name", "name"))),
    ]
}

fn with(edits: &str) -> Mapping {
    edited(games(), &format!("{{tables: {{public.games: {{relationships: {edits}}}}}}}"))
}

#[test]
fn a_relationship_that_is_not_named_stays_inferred() {
    for (edits, types) in [
        ("{}", vec!["HOME", "GUEST", "PLACE"]),
        ("{home_id: HOSTS}", vec!["HOSTS", "GUEST", "PLACE"]),
        ("{games_home_id_fkey: {direction: in}}", vec!["<HOME", "GUEST", "PLACE"]),
        ("{guest_id: false}", vec!["HOME", "PLACE"]),
        ("{games_land_town_fkey: AT}", vec!["HOME", "GUEST", "AT"]),
        ("{town: AT}", vec!["HOME", "GUEST", "AT"]),
        ("{at: {columns: [land, town], to: public.places}}", vec!["HOME", "GUEST", "PLACE"]),
        (
            "{umpire: {to: public.people, to_columns: [name]}}",
            vec!["HOME", "GUEST", "PLACE", "UMPIRE"],
        ),
        ("{home_id: {type: A, to: public.people}}", vec!["HOME", "GUEST", "PLACE", "A"]),
        (
            "{home_id: HOSTS, again: {type: PLAYS, columns: [home_id], to: public.teams}}",
            vec!["PLAYS", "HOSTS", "GUEST", "PLACE"],
        ),
        ("{games_home_id_fkey: {type: A, to: public.people}}", vec!["A", "GUEST", "PLACE"]),
    ] {
        assert_eq!(types_of(&with(edits), "games"), types, "{edits}");
    }
}

#[test]
fn a_foreign_key_that_comes_later_is_followed_beside_edits() {
    let later = games().into_iter().map(|table| match table.name.name.as_str() {
        "games" => table.fk("umpire", "people", "name"),
        _ => table,
    });
    let yaml = "{tables: {public.games: {relationships: {home_id: HOSTS}}}}";
    assert_eq!(types_of(&edited(later, yaml), "games"), ["HOSTS", "GUEST", "PLACE", "UMPIRE"]);
}

#[test]
fn an_edit_outlives_its_foreign_key_if_it_names_the_target() {
    let tables = || {
        games()
            .into_iter()
            .map(|table| table.with(|it| it.foreign_keys.retain(|key| key.columns.len() > 1)))
    };
    let edit = "{home_id: {type: HOSTS, to: public.teams}, guest_id: false}";
    let yaml = format!("{{tables: {{public.games: {{relationships: {edit}}}}}}}");
    assert_eq!(types_of(&edited(tables(), &yaml), "games"), ["PLACE", "HOSTS"]);
}

#[test]
fn an_inferred_type_makes_way_for_one_that_the_file_names() {
    let edit = "{home_id: GUEST}";
    assert_eq!(types_of(&with(edit), "games"), ["GUEST", "GUEST_ID", "PLACE"]);
}

#[test]
fn what_an_edit_leaves_out_is_not_warned_of() {
    let skipped = "public.customers: {skip: true}";
    let tables = || [customers(), orders()];
    let warned = edited(tables(), &format!("{{tables: {{{skipped}}}}}"));
    assert!(warned.warnings.iter().any(|it| matches!(it, Warning::ReferenceLeftOut { .. })));
    let yaml = format!(
        "{{tables: {{{skipped}, public.orders: {{relationships: {{customer_id: false}}}}}}}}"
    );
    let silent = edited(tables(), &yaml);
    assert!(!silent.warnings.iter().any(|it| matches!(it, Warning::ReferenceLeftOut { .. })));
}

#[test]
fn edits_that_fit_nothing_are_refused_with_what_to_write() {
    let both = || {
        games().into_iter().map(|table| match table.name.name.as_str() {
            "games" => table.fk("home_id", "people", "id"),
            _ => table,
        })
    };
    for (edit, said) in [
        ("{hom_id: A}", "Did you mean \"home_id\"?"),
        ("{hom_id: false}", "Did you mean \"home_id\"?"),
        ("{umpire: A}", "no foreign key has it. Give it `to`"),
        ("{home_id: A}", "games_home_id_fkey"),
        ("{x: {type: A, columns: [nothing], to: public.teams}}", "there is no column \"nothing\""),
        ("{umpire: {to: public.tems}}", "Did you mean \"public.teams\"?"),
    ] {
        let yaml = format!("{{tables: {{public.games: {{relationships: {edit}}}}}}}");
        let refusals = refused(both(), &yaml);
        assert!(refusals.iter().any(|it| it.to_string().contains(said)), "{edit}: {refusals:#?}");
    }
}

#[test]
fn a_property_that_is_not_named_stays_inferred() {
    for (edits, names) in [
        ("{name: full_name}", vec!["full_name", "note"]),
        ("{name: false}", vec!["note"]),
        ("{name: full_name, note: false}", vec!["full_name"]),
        ("{include: [note], name: true}", vec!["name", "note"]),
    ] {
        let people = table("people", "id int4, name text, note text").pk("id");
        let yaml = format!("{{tables: {{public.people: {{properties: {edits}}}}}}}");
        assert_eq!(node(&edited([people], &yaml), "people").properties, names, "{edits}");
    }
    let yaml = "{tables: {public.orders: {properties: {nam: false}}}}";
    let refusals = refused([customers(), orders()], yaml);
    assert!(matches!(refusals[..], [Refusal::UnknownColumn { .. }]), "{refusals:?}");
}

#[test]
fn single_foreign_key_columns_stay_where_all_others_go() {
    let yaml = "{defaults: {foreign_key_properties: false}, \
        tables: {public.games: {properties: {home_id: true, guest_id: guest}}}}";
    let mapping = edited(games(), yaml);
    assert_eq!(node(&mapping, "games").properties, ["home_id", "guest", "umpire"]);
}

/// A membership with a key of its own, in a schema with tenants.
fn members() -> Vec<Table> {
    let of_tenant = |name: &str| {
        table(name, "tenant int4!, id int4!").pk("tenant, id").fk("tenant", "tenants", "id")
    };
    let members =
        table("members", "id int8, tenant int4!, user_id int4!, group_id int4!, role text");
    let members = members
        .pk("id")
        .fk("tenant", "tenants", "id")
        .fk("tenant, group_id", "groups", "tenant, id")
        .fk("tenant, user_id", "users", "tenant, id");
    let tenants = table("tenants", "id int4").pk("id");
    vec![tenants, of_tenant("users"), of_tenant("groups"), members]
}

#[test]
fn a_table_with_a_key_of_its_own_and_two_foreign_keys_is_a_join_table_if_the_file_says_so() {
    for (edit, named) in [("{}", "MEMBERS"), ("{type: 'IN'}", "IN")] {
        let yaml = format!("{{tables: {{public.members: {{relationship: {edit}}}}}}}");
        let mapping = edited(members(), &yaml);
        let join = relationship(&mapping, "members");
        assert_eq!(join.relationship_type, named);
        assert_eq!(join.key, RelationshipKey::Own(columns("id")));
        let ends = [join.from, join.to].map(|end| mapping.model.node(end).label.clone());
        assert_eq!(ends, ["User", "Group"], "in the order of the columns");
    }
    assert_eq!(types_of(&mapped(members()), "members"), ["TENANT", "GROUP", "USER"]);
}

#[test]
fn one_end_of_a_join_table_says_the_other_one() {
    let yaml = "{tables: {public.order_details: {relationship: {from: {columns: [product_id], to: public.products}}}}}";
    let mapping = edited(northwind(), yaml);
    let join = relationship(&mapping, "order_details");
    assert_eq!(join.relationship_type, "ORDER_DETAILS");
    assert_eq!(mapping.model.node(join.from).label, "Product");
    assert_eq!(mapping.model.node(join.to).label, "Order");
    let three = table("three", "id int4, a int4!, b int4!, c int4!").pk("id");
    let three = three.fk("a", "ts", "id").fk("b", "ts", "id").fk("c", "ts", "id");
    let yaml = "{tables: {public.three: {relationship: {type: X}}}}";
    let refusals = refused([three, table("ts", "id int4").pk("id")], yaml);
    assert!(
        matches!(refusals[..], [Refusal::Edit(EditRefusal::EndsUnknown { .. })]),
        "{refusals:?}"
    );
}

#[test]
fn what_init_writes_has_single_edits_so_that_foreign_keys_to_come_are_seen() {
    let yaml = "{tables: {public.games: {relationships: {guest_id: false, umpire: {to: public.people, to_columns: [name]}}}}}";
    let first = edited(games(), yaml);
    let written = render_yaml(&catalog(games()), &first);
    for line in [
        "      home_id: {type: HOME, to: public.teams}\n",
        "      games_guest_id_fkey: false\n",
        "      games_land_town_fkey: {type: PLACE, columns: [land, town], to: public.places}\n",
        "      umpire: {type: UMPIRE, to: public.people, to_columns: [name]}\n",
    ] {
        assert!(written.contains(line), "{line}\n{written}");
    }
    let again = compile(&catalog(games()), &edits(&written)).expect("a mapping");
    assert_eq!(again, first, "{written}");
    // What single edits can not say is a list.
    let list = "[{type: B, columns: [guest_id], to: public.teams}, {type: A, columns: [home_id], to: public.teams}]";
    let turned = with(list);
    let written = render_yaml(&catalog(games()), &turned);
    assert!(
        written.contains("      - {type: B, columns: [guest_id], to: public.teams}\n"),
        "{written}"
    );
    assert_eq!(compile(&catalog(games()), &edits(&written)).expect("a mapping"), turned);
}
