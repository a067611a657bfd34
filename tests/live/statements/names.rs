//! Names are data: the graph holds them byte for byte, and nothing else happens.

use std::sync::Arc;

use fastrand::Rng;
use wal2graph::{
    graph::{
        Circumstances, Model, Mutations,
        memory::Memory,
        model::{Direction, ReferenceBy, ReferenceShape, RelationshipKey},
        plan,
    },
    neo4j::schema,
};

use super::{
    Real, seed,
    shapes::{Generator, join, node, reference},
};
use crate::support::holds;

/// What names are put together from: what ends a name, what escapes, what Cypher does with names.
const PIECES: &[&str] = &[
    "\\u0060",
    "\\u005C",
    "\\",
    "\\\\",
    "\\u",
    "u0060",
    "`",
    "``",
    "=1 WITH n MATCH (m:SnVictim) DETACH DELETE m //",
    ") DETACH DELETE n //",
    "'",
    "\"",
    "$x",
    "$(x)",
    "{",
    "}",
    " ",
    "\n",
    "\r",
    "\u{1}",
    "\u{85}",
    "\u{FF40}",
    "e\u{301}",
    "\u{2028}",
    "\u{1F980}",
    "a",
    "/*",
    "\\U00000060",
];
const MODELS: usize = 6;
const BATCHES: usize = 2;

struct Names(Rng);

impl Names {
    /// A name that no other has, with something hostile before and behind what makes it so.
    fn next(&mut self, unique: &str) -> String {
        let mut some = || -> String {
            (0..self.0.usize(1..4)).map(|_| *self.0.choice(PIECES).expect("some")).collect()
        };
        format!("{}{unique}{}", some(), some())
    }

    fn model(&mut self, prefix: &str) -> Model {
        let key = self.next("key");
        let (value, code) = (self.next("value"), self.next("code"));
        let incoming =
            ReferenceShape { direction: Direction::Incoming, ..reference(&self.next("in"), 1) };
        let unique = ReferenceShape {
            by: ReferenceBy::Unique {
                owner_properties: vec![code.clone()],
                target_properties: vec![code.clone()],
            },
            ..reference(&self.next("unique"), 1)
        };
        let references = vec![reference(&self.next("self"), 0), incoming, unique];
        let label = |names: &mut Self, name: &str| names.next(&format!("{prefix}{name}"));
        let own = RelationshipKey::Own(vec![self.next("own")]);
        let properties = [value.as_str(), code.as_str()];
        Model {
            tables: vec![
                node(label(self, "A"), &[&key], &properties, references),
                node(label(self, "B"), &[&key], &properties, vec![]),
                join(label(self, "AB"), 0, 1, RelationshipKey::Ends, &[&value]),
                join(label(self, "OWN"), 0, 1, own, &[&value]),
            ],
        }
    }
}

#[tokio::test]
async fn a_column_name_ran_cypher_of_its_own() {
    let seed = seed();
    println!("SEED={seed}");
    let mut names = Names(Rng::with_seed(seed));
    let victims = crate::support::graph();
    let text = "UNWIND range(1, 5) AS id MERGE (:SnVictim {id: id})";
    victims.run(neo4rs::Query::new(text.to_owned())).await.unwrap();
    for number in 0..MODELS {
        let model = Arc::new(names.model(&format!("Sn{number}")));
        let real = Real::new(model.clone()).await;
        let requirements = schema::requirements(&model);
        let missing = schema::missing(&real.connection, &requirements).await.unwrap();
        assert!(missing.is_empty(), "SEED={seed}: {missing:?}");
        let mut memory = Memory::default();
        let mut generator = Generator::new(model.clone(), Rng::with_seed(seed + number as u64));
        for _ in 0..BATCHES {
            let circumstances = Circumstances::Unsettled;
            let statements = plan(&model, Mutations::fold(generator.batch()), circumstances);
            statements.iter().for_each(|statement| memory.apply(&model, statement));
            real.apply_as_one(&statements).await;
            let (expected, found) = (memory.contents(&model), real.contents().await);
            assert!(
                expected == found,
                "SEED={seed}: {model:?}\nexpected {expected:?}\nfound {found:?}"
            );
        }
        let survive = "MATCH (n:SnVictim) RETURN count(n) = 5 AS yes";
        assert!(holds(survive).await, "SEED={seed}: {model:?} deleted somebody");
    }
}
