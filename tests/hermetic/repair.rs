//! What others do to a graph is found, named and mended, and nothing else is touched.

#[allow(dead_code)]
#[path = "../live/statements/damages.rs"]
mod damages;
#[allow(dead_code)]
#[path = "../live/statements/shapes.rs"]
mod shapes;

use std::sync::Arc;

use fastrand::Rng;
use wal2graph::{
    graph::{
        Cell, Circumstances, Difference, Event, Key, Model, Mutations, Reference, Row, Statement,
        TableIndex,
        found::Stored,
        memory::{Damage, Memory, OTHERS, ToJoined, ToNode},
        model::Shape,
        plan, plan_repaired,
    },
    value::{Float, Value},
};

use damages::{Tables, damage, of_the_mapping};
use shapes::{Generator, key};

/// Repairing one table may leave or free placeholders of another one.
const ROUNDS: usize = 4;

fn damaged_and_repaired(model: Model, seed: u64) {
    let model = Arc::new(model);
    let mut rng = Rng::with_seed(seed);
    let mut generator = Generator::new(model.clone(), Rng::with_seed(seed));
    let (mut memory, mut tables) = (Memory::default(), Tables::new(&model));
    for batch in 0..30 {
        let events = generator.batch();
        events.iter().for_each(|event| tables.apply(event));
        let circumstances =
            if rng.bool() { Circumstances::Settled } else { Circumstances::Unsettled };
        for statement in plan(&model, Mutations::fold(events), circumstances) {
            memory.apply(&model, &statement);
        }
        let mut harm = Vec::new();
        for _ in 0..rng.usize(0..4) {
            let damage = damage(&mut rng, &model, &memory);
            memory.damage(&model, &damage);
            harm.push(damage);
        }
        let left = repaired(&model, &tables, &mut memory);
        assert!(left.is_empty(), "SEED={seed}, batch {batch}: {harm:?} leaves {left:?}");
        // What lost its key stays, with the placeholders that it holds, until its owner removes it.
        for (table, _) in model.iter() {
            let (key, what) = (Key([].into()), ToNode::Delete);
            let stray = Damage::Node { table, key, what };
            (0..memory.strays(&model, table)).for_each(|_| memory.damage(&model, &stray));
        }
        let left = repaired(&model, &tables, &mut memory);
        assert!(left.is_empty(), "SEED={seed}, batch {batch}: {harm:?} leaves {left:?}");
        let expected = tables.graph(&model).contents(&model);
        let found = of_the_mapping(memory.contents(&model), &model);
        assert!(
            expected == found,
            "SEED={seed}, batch {batch}: after {harm:?}\nnodes {:?}\nrelationships {:?}\nexpected {:?}",
            expected.nodes.symmetric_difference(&found.nodes).collect::<Vec<_>>(),
            found.relationships,
            expected.relationships,
        );
    }
}

/// Repairs all tables as often as it takes. Returns the differences that the last round has found.
fn repaired(model: &Model, tables: &Tables, memory: &mut Memory) -> Vec<Difference> {
    let mut left = Vec::new();
    for _ in 0..ROUNDS {
        left.clear();
        for (table, _) in model.iter() {
            let found = memory.page(model, table, None, usize::MAX);
            let (repair, differences) = tables.repair(model, table, found);
            left.extend(differences);
            for statement in plan_repaired(model, table, repair) {
                memory.apply(model, &statement);
            }
        }
    }
    left
}

#[test]
fn any_damage_is_found_and_mended() {
    let first = std::env::var("SEED").map(|seed| seed.parse().expect("SEED is a number"));
    let first = first.unwrap_or_else(|_| fastrand::u64(0..1_000_000_000));
    for seed in first..first + 10 {
        for model in [shapes::soft("R"), shapes::composite("R"), shapes::by_code("R")] {
            damaged_and_repaired(model, seed);
        }
    }
}

/// A graph without damage has no difference, whatever the stream has done to it.
#[test]
fn an_equal_graph_has_no_difference() {
    for seed in 0..50 {
        for model in [shapes::soft("E"), shapes::composite("E"), shapes::by_code("E")] {
            let model = Arc::new(model);
            let mut generator = Generator::new(model.clone(), Rng::with_seed(seed));
            let (mut memory, mut tables) = (Memory::default(), Tables::new(&model));
            for _ in 0..20 {
                let events = generator.batch();
                events.iter().for_each(|event| tables.apply(event));
                for statement in plan(&model, Mutations::fold(events), Circumstances::Settled) {
                    memory.apply(&model, &statement);
                }
                for (table, _) in model.iter() {
                    let found = memory.page(&model, table, None, usize::MAX);
                    let (_, differences) = tables.repair(&model, table, found);
                    assert!(differences.is_empty(), "SEED={seed}: {differences:?}");
                }
            }
        }
    }
}

/// A copy may have written the row under its new key before the stream brings the key change.
#[test]
fn a_key_change_onto_a_row_hands_over_what_others_put_on_the_old_node() {
    let model = shapes::chain("H");
    let table = TableIndex(0);
    let mut memory = Memory::default();
    let inserts = [1, 2, 3].map(|id| shapes::insert(table, id));
    for statement in plan(&model, Mutations::fold(inserts), Circumstances::Settled) {
        memory.apply(&model, &statement);
    }
    memory.put_others(table, &key(&[1]), 7);
    memory.connect_others((table, &key(&[1])), (table, &key(&[3])));
    let moves = vec![(key(&[1]), key(&[2]))];
    memory.apply(&model, &Statement::MoveNodes { table, moves });
    let contents = memory.contents(&model);
    let marked = contents.nodes.iter().find(|node| node.labels.contains(OTHERS)).unwrap();
    assert_eq!(marked.properties["id"], Value::Integer(2));
    assert_eq!(contents.nodes.len(), 2);
    let (relationship, count) = contents.relationships.iter().next().unwrap();
    assert_eq!((relationship.from.key.as_slice(), *count), (&*key(&[2]).0, 1));
    assert_eq!(relationship.to.key.as_slice(), &*key(&[3]).0);
}

/// Its relationship was made for its value, which it keeps, though no statement finds it.
#[test]
fn a_placeholder_that_lost_its_key_held_a_reference_to_its_unique_column() {
    let model = shapes::by_code("R");
    let (code, owner) = (TableIndex(0), TableIndex(1));
    let (mut memory, mut tables) = (Memory::default(), Tables::new(&model));
    let mut refers = shapes::insert(owner, 1);
    if let Event::Insert { row, .. } = &mut refers {
        row.references = vec![Reference::To(key(&[10]))];
    }
    let events = vec![shapes::insert(code, 1), refers];
    events.iter().for_each(|event| tables.apply(event));
    for statement in plan(&model, Mutations::fold(events), Circumstances::Settled) {
        memory.apply(&model, &statement);
    }
    for what in [ToNode::Placeholder(true), ToNode::LoseKey] {
        memory.damage(&model, &Damage::Node { table: code, key: key(&[1]), what });
    }
    assert_eq!(repaired(&model, &tables, &mut memory), []);
}

/// A graph finds 7.0 by 7. The row is not written beside it, and nothing is removed in its stead.
#[test]
fn a_key_of_another_type_that_the_graph_holds_equal_is_named_once_and_mended() {
    let model = shapes::soft("R");
    let (a, link) = (TableIndex(0), TableIndex(5));
    let (mut memory, mut tables) = (Memory::default(), Tables::new(&model));
    let row = |table: TableIndex| {
        let properties = match &model.table(table).shape {
            Shape::Node(shape) => shape.properties.len(),
            Shape::Relationship(shape) => shape.properties.len(),
        };
        let references = match &model.table(table).shape {
            Shape::Node(shape) => vec![Reference::Null; shape.references.len()],
            Shape::Relationship(_) => vec![Reference::To(key(&[7])); 2],
        };
        let properties = vec![Cell::Value(Value::Boolean(true)); properties];
        Event::Insert { table, key: key(&[7]), row: Row { properties, references } }
    };
    let events = vec![row(a), row(TableIndex(1)), row(link)];
    events.iter().for_each(|event| tables.apply(event));
    for statement in plan(&model, Mutations::fold(events), Circumstances::Settled) {
        memory.apply(&model, &statement);
    }
    let float = Key([Value::Float(Float(7.0))].into());
    let what = ToNode::Key(float.clone());
    memory.damage(&model, &Damage::Node { table: a, key: key(&[7]), what });
    let what = ToJoined::Delete;
    memory.damage(&model, &Damage::Joined { table: link, key: key(&[7]), what });
    let (from, to) = ((a, key(&[7])), (TableIndex(1), key(&[7])));
    let join = Damage::Join { table: link, own: Some(float.clone()), from, to };
    memory.damage(&model, &join);
    for table in [a, link] {
        let found = memory.page(&model, table, None, usize::MAX);
        let (repair, differences) = tables.repair(&model, table, found);
        assert_eq!(repair.remove, []);
        let is_key = |it: &Difference| {
            matches!(it, Difference::Property { name, graph: Stored::Value(value), .. }
                if name == "id" && *value == float.0[0])
        };
        assert!(differences.iter().any(is_key), "{differences:?}");
        for statement in plan_repaired(&model, table, repair) {
            memory.apply(&model, &statement);
        }
    }
    assert_eq!(repaired(&model, &tables, &mut memory), []);
    assert!(memory.contents(&model) == tables.graph(&model).contents(&model));
}
