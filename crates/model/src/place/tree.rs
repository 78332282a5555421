//! Positions on the earth as a tree of circles, so that whole regions can be passed over at once.
//!
//! What it must not know: hosts, players, capacity. Entry point: [`Tree::of`].
//!
//! ```text
//!               0: every position             Two children lie side by side, after their parent, so that a search
//!              /                 \            that looks at both finds them in one cache line.
//!      1: one half          2: the other      A leaf is one distinct position; positions are numbered in the
//!      /         \              ...           order of `Tree::positions`.
//!   3: a leaf   4: a leaf
//! ```
//! Its shape depends on the order in which positions come in. The answers drawn from it do not.

use std::collections::HashMap;

use super::score::Vector;

/// Added to each radius in radians: over what rounding to `f32` can take away.
const ROUNDING: f64 = 1e-6;
/// In `children`: a leaf. No node has the root as a child.
const LEAF: u32 = 0;

/// The tree. Never empty nodes; a tree of no positions has no nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Each distinct position, in the order of the leaves.
    pub positions: Vec<Vector>,
    /// Parents before children; the root is node 0.
    pub nodes: Vec<Node>,
    /// The leaf of each position.
    pub leaves: Vec<u32>,
}

/// A circle around every position below it.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Unit vector of the middle.
    pub centre: [f32; 3],
    /// Radians.
    pub radius: f32,
    /// The node above; the root names itself.
    pub parent: u32,
    /// The first of the two.
    children: u32,
    /// Of a leaf: its position.
    position: u32,
}

/// What is below a node.
pub(super) enum Below {
    /// Two nodes.
    Nodes(u32, u32),
    /// One position.
    Position(u32),
}

impl Tree {
    /// Builds the tree of `points`, and says for each of them which position it became: equal ones share one.
    pub(super) fn of(points: &[Vector]) -> (Self, Vec<u32>) {
        let mut number_of: HashMap<[u64; 3], u32> = HashMap::with_capacity(points.len());
        let mut distinct: Vec<(Vector, u32)> = Vec::new();
        let first_seen = |point: &Vector| {
            // Adding zero turns -0.0 into 0.0, which is the same place.
            let key = [point.x, point.y, point.z].map(|coordinate| (coordinate + 0.0).to_bits());
            *number_of.entry(key).or_insert_with(|| {
                let number = distinct.len() as u32;
                distinct.push((*point, number));
                number
            })
        };
        let numbers: Vec<u32> = points.iter().map(first_seen).collect();
        let mut tree = Self::default();
        if !distinct.is_empty() {
            tree.nodes.reserve(2 * distinct.len() - 1);
            tree.nodes.push(Node::around(&distinct, 0));
            tree.grow(&mut distinct, 0);
        }
        let mut position_of = vec![0; distinct.len()];
        for (position, (_, number)) in distinct.iter().enumerate() {
            position_of[*number as usize] = position as u32;
        }
        let places = numbers.into_iter().map(|number| position_of[number as usize]).collect();
        (tree, places)
    }

    /// What is below `node`.
    pub(super) fn below(&self, node: u32) -> Below {
        let it = &self.nodes[node as usize];
        if it.children == LEAF {
            Below::Position(it.position)
        } else {
            Below::Nodes(it.children, it.children + 1)
        }
    }

    /// Adds all that is below node `id`, which is around `points`; leaves them in the order of the leaves.
    /// The depth is the logarithm of their number.
    fn grow(&mut self, points: &mut [(Vector, u32)], id: u32) {
        if let [(only, _)] = points {
            self.nodes[id as usize].position = self.positions.len() as u32;
            self.positions.push(*only);
            self.leaves.push(id);
            return;
        }
        let axis = widest_axis(points);
        let half = points.len() / 2;
        points.select_nth_unstable_by(half, |a, b| axis(&a.0).total_cmp(&axis(&b.0)));
        let (left, right) = points.split_at_mut(half);
        let children = self.nodes.len() as u32;
        self.nodes[id as usize].children = children;
        self.nodes.push(Node::around(left, id));
        self.nodes.push(Node::around(right, id));
        self.grow(left, children);
        self.grow(right, children + 1);
    }
}

impl Node {
    /// A leaf around `points`, until it is given children or its position.
    fn around(points: &[(Vector, u32)], parent: u32) -> Self {
        let (centre, radius) = circle(points);
        Self { centre, radius, parent, children: LEAF, position: 0 }
    }
}

/// A small circle around `points`: their middle, and how far the farthest is.
fn circle(points: &[(Vector, u32)]) -> ([f32; 3], f32) {
    let sum = |axis: fn(&Vector) -> f64| points.iter().map(|(point, _)| axis(point)).sum::<f64>();
    let (x, y, z) = (sum(|p| p.x), sum(|p| p.y), sum(|p| p.z));
    let length = (x * x + y * y + z * z).sqrt();
    let middle = if length > 1e-9 {
        Vector { x: x / length, y: y / length, z: z / length }
    } else {
        // They cancel out, so every middle is as bad as this one.
        Vector { x: 1.0, y: 0.0, z: 0.0 }
    };
    let radius = points.iter().map(|(point, _)| point.angle(middle)).fold(0.0, f64::max);
    ([middle.x as f32, middle.y as f32, middle.z as f32], (radius + ROUNDING) as f32)
}

/// The coordinate in which `points` lie farthest apart.
fn widest_axis(points: &[(Vector, u32)]) -> fn(&Vector) -> f64 {
    let axes: [fn(&Vector) -> f64; 3] = [|p| p.x, |p| p.y, |p| p.z];
    let width = |axis: fn(&Vector) -> f64| {
        let least = points.iter().map(|(point, _)| axis(point)).fold(f64::INFINITY, f64::min);
        let most = points.iter().map(|(point, _)| axis(point)).fold(f64::NEG_INFINITY, f64::max);
        most - least
    };
    axes.into_iter().max_by(|a, b| width(*a).total_cmp(&width(*b))).unwrap_or(axes[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_circle_holds_what_is_below_it_and_equal_points_share_a_position() {
        let mut points: Vec<Vector> = (0..100)
            .map(|i| Vector::from_degrees(f64::from(i * 37 % 180) - 90.0, f64::from(i * 91 % 360)))
            .collect();
        points.push(points[7]);
        let (tree, position_of) = Tree::of(&points);
        assert_eq!(position_of[100], position_of[7]);
        for (point, position) in points.iter().zip(&position_of) {
            assert_eq!(tree.positions[*position as usize], *point);
            let mut node = tree.leaves[*position as usize];
            loop {
                let circle = &tree.nodes[node as usize];
                let [x, y, z] = circle.centre.map(f64::from);
                assert!(point.angle(Vector { x, y, z }) <= f64::from(circle.radius));
                if node == 0 {
                    break;
                }
                node = circle.parent;
            }
        }
        assert_eq!(tree.nodes.len(), 2 * tree.positions.len() - 1);
    }

    #[test]
    fn no_points_make_an_empty_tree() {
        let (tree, position_of) = Tree::of(&[]);
        assert!(tree.nodes.is_empty() && tree.leaves.is_empty() && position_of.is_empty());
    }
}
