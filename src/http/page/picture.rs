//! The graph's labels and types as a picture.
//!
//! Labels push each other away, and relationships pull them together. The places at the beginning are fixed, so the
//! same model gives the same picture each time.

use std::{collections::BTreeMap, f64::consts::TAU, fmt::Write};

use crate::graph::drawn::{Arrow, Drawing};

use super::escaped::Escaped;

/// More labels are no picture any more.
pub const LABELS_MAX: usize = 40;

const STEPS: u32 = 300;
/// The distance that two related labels keep.
const DISTANCE: f64 = 130.0;
const HEIGHT: f64 = 26.0;
/// About the width of a letter.
const LETTER: f64 = 7.2;
const MARGIN: f64 = 50.0;
/// What is shown of a long name.
const LETTERS_MAX: usize = 28;

type Point = (f64, f64);

/// An SVG of the model.
pub fn picture(drawing: &Drawing) -> String {
    let places = places(drawing);
    let (mut low, mut high) = ((f64::MAX, f64::MAX), (f64::MIN, f64::MIN));
    for (x, y) in &places {
        low = (low.0.min(*x), low.1.min(*y));
        high = (high.0.max(*x), high.1.max(*y));
    }
    let widest = drawing.labels.iter().map(|label| width(label)).fold(0.0, f64::max) / 2.0;
    let (left, top) = (low.0 - widest - 10.0, low.1 - MARGIN);
    let (wide, tall) = (high.0 - low.0 + 2.0 * widest + 20.0, high.1 - low.1 + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg class=model role=img aria-label=\"{}\" viewBox=\"{left:.0} {top:.0} {wide:.0} {tall:.0}\" \
         style=\"max-width:{wide:.0}px\">\
         <defs><marker id=end viewBox=\"0 0 8 8\" refX=8 refY=4 markerWidth=8 markerHeight=8 orient=auto>\
         <path d=\"M0 0L8 4L0 8Z\"/></marker></defs>",
        Escaped(said(drawing))
    );
    // One line for all types between two labels.
    let mut lines: BTreeMap<(usize, usize), Vec<&str>> = BTreeMap::new();
    for Arrow { from, to, relationship_type } in &drawing.arrows {
        lines.entry((*from, *to)).or_default().push(relationship_type);
    }
    for ((from, to), types) in &lines {
        let has_twin = from != to && lines.contains_key(&(*to, *from));
        let ends = ((places[*from], &drawing.labels[*from]), (places[*to], &drawing.labels[*to]));
        arrow(&mut svg, ends, types, has_twin);
    }
    for (label, (x, y)) in drawing.labels.iter().zip(&places) {
        let wide = width(label);
        let (left, top) = (x - wide / 2.0, y - HEIGHT / 2.0);
        let _ = write!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{HEIGHT}\" rx=13 /><text x=\"{x:.1}\" \
             y=\"{y:.1}\">{}</text>",
            Escaped(short(label))
        );
    }
    svg + "</svg>"
}

/// The same for those who do not see it.
fn said(drawing: &Drawing) -> String {
    let name = |place: usize| &drawing.labels[place];
    let arrows = drawing
        .arrows
        .iter()
        .map(|it| format!("{} {} {}", name(it.from), it.relationship_type, name(it.to)));
    let arrows: Vec<String> = arrows.collect();
    format!("labels {}; relationships {}", drawing.labels.join(", "), arrows.join(", "))
}

fn arrow(
    svg: &mut String,
    ends: ((Point, &String), (Point, &String)),
    types: &[&str],
    has_twin: bool,
) {
    let ((from, from_label), (to, to_label)) = ends;
    let named: Vec<String> = types.iter().map(|name| short(name)).collect();
    let named = Escaped(named.join(", "));
    if from == to {
        let (x, top) = (from.0, from.1 - HEIGHT / 2.0);
        let _ = write!(
            svg,
            "<path marker-end=\"url(#end)\" d=\"M{:.1} {top:.1}C{:.1} {:.1} {:.1} {:.1} {:.1} {top:.1}\"/>\
             <text class=type x=\"{x:.1}\" y=\"{:.1}\">{named}</text>",
            x - 12.0,
            x - 30.0,
            top - 34.0,
            x + 30.0,
            top - 34.0,
            x + 12.0,
            top - 30.0
        );
        return;
    }
    // Two lines between the same labels bend away from each other.
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let bend = if has_twin { 0.12 } else { 0.0 };
    let middle = ((from.0 + to.0) / 2.0 - dy * bend, (from.1 + to.1) / 2.0 + dx * bend);
    let start = border(from, middle, width(from_label));
    let end = border(to, middle, width(to_label));
    let at = ((start.0 + 2.0 * middle.0 + end.0) / 4.0, (start.1 + 2.0 * middle.1 + end.1) / 4.0);
    let _ = write!(
        svg,
        "<path marker-end=\"url(#end)\" d=\"M{:.1} {:.1}Q{:.1} {:.1} {:.1} {:.1}\"/>\
         <text class=type x=\"{:.1}\" y=\"{:.1}\">{named}</text>",
        start.0, start.1, middle.0, middle.1, end.0, end.1, at.0, at.1
    );
}

/// Where a line from the middle of a label leaves its frame.
fn border(center: Point, towards: Point, wide: f64) -> Point {
    let (dx, dy) = (towards.0 - center.0, towards.1 - center.1);
    let of = |half: f64, along: f64| if along == 0.0 { f64::MAX } else { half / along.abs() };
    let share = of(wide / 2.0, dx).min(of(HEIGHT / 2.0, dy)).min(1.0);
    (center.0 + dx * share, center.1 + dy * share)
}

fn short(name: &str) -> String {
    match name.chars().count() > LETTERS_MAX {
        true => name.chars().take(LETTERS_MAX - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

fn width(label: &str) -> f64 {
    short(label).chars().count() as f64 * LETTER + 24.0
}

fn places(drawing: &Drawing) -> Vec<Point> {
    let count = drawing.labels.len();
    let radius = DISTANCE * count as f64 / TAU;
    let on_circle = |place: usize| {
        let angle = TAU * place as f64 / count as f64;
        (radius * angle.cos(), radius * angle.sin())
    };
    let mut places: Vec<Point> = (0..count).map(on_circle).collect();
    for step in 0..STEPS {
        let mut moves = vec![(0.0, 0.0); count];
        for one in 0..count {
            for other in one + 1..count {
                let (dx, dy, distance) = between(places[one], places[other]);
                // Labels are wider than high.
                push(
                    &mut moves,
                    (one, other),
                    (dx * 1.6, dy),
                    -DISTANCE * DISTANCE / distance / distance,
                );
            }
        }
        for Arrow { from, to, .. } in drawing.arrows.iter().filter(|arrow| arrow.from != arrow.to) {
            let (dx, dy, distance) = between(places[*from], places[*to]);
            push(&mut moves, (*from, *to), (dx, dy), distance / DISTANCE);
        }
        // All stay near the middle, also labels without relationships.
        for (place, (x, y)) in moves.iter_mut().zip(&places) {
            *place = (place.0 - x * 0.05, place.1 - y * 0.08);
        }
        let most = DISTANCE * 0.4 * f64::from(STEPS - step) / f64::from(STEPS);
        for (place, (dx, dy)) in places.iter_mut().zip(moves) {
            let length = dx.hypot(dy).max(1e-9);
            let share = length.min(most) / length;
            *place = (place.0 + dx * share, place.1 + dy * share);
        }
    }
    places
}

fn between(one: Point, other: Point) -> (f64, f64, f64) {
    let (dx, dy) = (other.0 - one.0, other.1 - one.1);
    (dx, dy, dx.hypot(dy).max(1.0))
}

/// Moves two labels towards each other; a negative force moves them apart.
fn push(moves: &mut [Point], (one, other): (usize, usize), (dx, dy): Point, force: f64) {
    let (x, y) = (dx * force, dy * force);
    moves[one] = (moves[one].0 + x, moves[one].1 + y);
    moves[other] = (moves[other].0 - x, moves[other].1 - y);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing(labels: usize, arrows: &[(usize, usize)]) -> Drawing {
        let arrow = |(from, to): &(usize, usize)| Arrow {
            from: *from,
            to: *to,
            relationship_type: format!("T{from}<{to}"),
        };
        let labels = (0..labels).map(|label| format!("Label{label}")).collect();
        Drawing { labels, arrows: arrows.iter().map(arrow).collect() }
    }

    #[test]
    fn labels_do_not_cover_each_other() {
        let star: Vec<(usize, usize)> = (1..12).map(|it| (it, 0)).collect();
        let ring: Vec<(usize, usize)> =
            (0..LABELS_MAX).map(|it| (it, (it + 1) % LABELS_MAX)).collect();
        for drawing in [
            drawing(2, &[(0, 1), (1, 0), (0, 0)]),
            drawing(12, &star),
            drawing(LABELS_MAX, &ring),
            drawing(9, &[]),
        ] {
            let places = places(&drawing);
            for one in 0..places.len() {
                for other in 0..one {
                    let (dx, dy) =
                        (places[one].0 - places[other].0, places[one].1 - places[other].1);
                    let apart = dx.abs() > width(&drawing.labels[one]) || dy.abs() > HEIGHT;
                    assert!(apart, "{one} and {other} of {}: {dx:.0} {dy:.0}", places.len());
                }
            }
        }
    }

    #[test]
    fn a_picture_is_the_same_each_time_and_names_are_no_part_of_it() {
        let drawing = drawing(3, &[(0, 1), (1, 1), (2, 1)]);
        let svg = picture(&drawing);
        assert_eq!(svg, picture(&drawing));
        assert!(svg.contains("T0&lt;1") && !svg.contains("T0<1"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
