//! Decision trees as a table of nodes: each is a comparison with two ways on, or a leaf with votes.
//!
//! Whatever a model's tables hold, a walk ends: every index is checked when the table is made, and so is that
//! no way leads back.

use super::{integers, reals_or_tensor, texts};
use crate::error::{Error, Result};
use crate::ops::NodeView;
use std::collections::BTreeMap;

/// What a node compares a feature with its value by.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    Other,
    /// One of these values.
    Member(Vec<f64>),
}

/// A weight that a leaf gives a target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vote {
    pub target: usize,
    pub weight: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TreeNode {
    Branch { feature: usize, test: Test, value: f64, missing_is_true: bool, yes: usize, no: usize },
    Leaf(Vec<Vote>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    nodes: Vec<TreeNode>,
    roots: Vec<usize>,
    /// One more than the largest feature that a node asks for.
    pub features: usize,
}

/// What becomes of the votes for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

impl Forest {
    /// Errors where an index is of no node, a target beyond `targets`, or a way leads back.
    pub fn new(nodes: Vec<TreeNode>, roots: Vec<usize>, targets: usize) -> Result<Self> {
        let mut features = 0;
        for (at, node) in nodes.iter().enumerate() {
            match node {
                TreeNode::Branch { feature, yes, no, .. } => {
                    features = features.max(feature.saturating_add(1));
                    if let Some(way) = [yes, no].into_iter().find(|way| **way >= nodes.len()) {
                        return Err(Error::model(format!(
                            "tree node {at} leads to {way} of {}",
                            nodes.len()
                        )));
                    }
                }
                TreeNode::Leaf(votes) => {
                    if let Some(vote) = votes.iter().find(|vote| vote.target >= targets) {
                        return Err(Error::model(format!(
                            "a leaf votes for target {} of {targets}",
                            vote.target
                        )));
                    }
                }
            }
        }
        if let Some(root) = roots.iter().find(|root| **root >= nodes.len()) {
            return Err(Error::model(format!("a tree's root is node {root} of {}", nodes.len())));
        }
        let forest = Self { nodes, roots, features };
        match forest.circle() {
            None => Ok(forest),
            Some(at) => Err(Error::model(format!("tree node {at} leads back to itself"))),
        }
    }

    /// A node from which a way leads back to it.
    fn circle(&self) -> Option<usize> {
        // Of each node: not seen, on the way to here, done.
        let mut states = vec![0u8; self.nodes.len()];
        for &root in &self.roots {
            let mut stack = vec![(root, false)];
            while let Some((at, left)) = stack.pop() {
                if left {
                    states[at] = 2;
                    continue;
                }
                match states[at] {
                    0 => states[at] = 1,
                    1 => return Some(at),
                    _ => continue,
                }
                stack.push((at, true));
                if let TreeNode::Branch { yes, no, .. } = self.nodes[at] {
                    stack
                        .extend([yes, no].into_iter().filter(|&way| states[way] < 2).map(|way| (way, false)));
                }
            }
        }
        None
    }

    /// The votes of the leaf that a row comes to in a tree.
    fn votes(&self, root: usize, row: &[f64]) -> &[Vote] {
        let mut at = root;
        loop {
            match &self.nodes[at] {
                TreeNode::Leaf(votes) => return votes,
                TreeNode::Branch { feature, test, value, missing_is_true, yes, no } => {
                    let x = row[*feature];
                    let holds = match test {
                        Test::AtMost => x <= *value,
                        Test::Below => x < *value,
                        Test::AtLeast => x >= *value,
                        Test::Above => x > *value,
                        Test::Equal => x == *value,
                        Test::Other => x != *value,
                        Test::Member(values) => values.contains(&x),
                    };
                    at = if holds || *missing_is_true && x.is_nan() { *yes } else { *no };
                }
            }
        }
    }

    /// What a row's votes come to for each target; `None` for one without votes.
    pub fn scores(&self, row: &[f64], targets: usize, aggregate: Aggregate) -> Vec<Option<f64>> {
        let mut scores: Vec<Option<f64>> = vec![None; targets];
        for vote in self.roots.iter().flat_map(|&root| self.votes(root, row)) {
            let score = &mut scores[vote.target];
            *score = Some(match (*score, aggregate) {
                (None, _) => vote.weight,
                (Some(score), Aggregate::Min) => score.min(vote.weight),
                (Some(score), Aggregate::Max) => score.max(vote.weight),
                (Some(score), _) => score + vote.weight,
            });
        }
        if aggregate == Aggregate::Average {
            let trees = self.roots.len() as f64;
            scores.iter_mut().flatten().for_each(|score| *score /= trees);
        }
        scores
    }

    /// From the attributes `nodes_…` of the older operators, and of votes those that begin with `votes`:
    /// `…_ids`, `…_nodeids`, `…_treeids`, `…_weights`.
    pub fn parse(node: &NodeView, votes: &str, targets: usize) -> Result<Self> {
        let ints = |name: &str| Ok(integers(node, name)?.unwrap_or_default());
        // How often each node was reached in training.
        node.ignore(&["nodes_hitrates", "nodes_hitrates_as_tensor"]);
        let (trees, ids) = (ints("nodes_treeids")?, ints("nodes_nodeids")?);
        let modes = texts(node, "nodes_modes")?.unwrap_or_default();
        let (features, values) = (ints("nodes_featureids")?, reals_or_tensor(node, "nodes_values")?);
        let ways = [ints("nodes_truenodeids")?, ints("nodes_falsenodeids")?];
        let missing = ints("nodes_missing_value_tracks_true")?;
        let count = ids.len();
        let lengths = [trees.len(), modes.len(), features.len(), values.len(), ways[0].len(), ways[1].len()];
        if lengths.iter().any(|&length| length != count) || !missing.is_empty() && missing.len() != count {
            return Err(Error::model(format!(
                "its lists of {count} tree nodes are of other lengths: {lengths:?}"
            )));
        }
        // A tree's root is its first node.
        let (mut places, mut roots) = (BTreeMap::new(), BTreeMap::new());
        for at in 0..count {
            if places.insert((trees[at], ids[at]), at).is_some() {
                return Err(Error::model(format!("tree {} has two nodes {}", trees[at], ids[at])));
            }
            roots.entry(trees[at]).or_insert(at);
        }
        let place = |tree: i64, id: i64| {
            let missing = || Error::model(format!("tree {tree} has no node {id}"));
            places.get(&(tree, id)).copied().ok_or_else(missing)
        };
        let mut nodes = Vec::with_capacity(count);
        for at in 0..count {
            let test = match modes[at].as_str() {
                "BRANCH_LEQ" => Test::AtMost,
                "BRANCH_LT" => Test::Below,
                "BRANCH_GTE" => Test::AtLeast,
                "BRANCH_GT" => Test::Above,
                "BRANCH_EQ" => Test::Equal,
                "BRANCH_NEQ" => Test::Other,
                "LEAF" => {
                    nodes.push(TreeNode::Leaf(vec![]));
                    continue;
                }
                other => return Err(Error::unsupported(format!("a tree node of mode '{other}'"))),
            };
            nodes.push(TreeNode::Branch {
                feature: feature(features[at])?,
                test,
                value: values[at],
                missing_is_true: missing.get(at).is_some_and(|&missing| missing != 0),
                yes: place(trees[at], ways[0][at])?,
                no: place(trees[at], ways[1][at])?,
            });
        }
        let weights = reals_or_tensor(node, &format!("{votes}_weights"))?;
        let [voted, voters, voting] =
            ["ids", "nodeids", "treeids"].map(|name| ints(&format!("{votes}_{name}")));
        let (voted, voters, voting) = (voted?, voters?, voting?);
        if [voted.len(), voters.len(), voting.len()].iter().any(|&length| length != weights.len()) {
            return Err(Error::model(format!("its lists of {} votes are of other lengths", weights.len())));
        }
        for (k, &weight) in weights.iter().enumerate() {
            let target = usize::try_from(voted[k])
                .map_err(|_| Error::model(format!("a leaf votes for target {}", voted[k])))?;
            // Votes of a node that is no leaf never count.
            if let TreeNode::Leaf(votes) = &mut nodes[place(voting[k], voters[k])?] {
                votes.push(Vote { target, weight });
            }
        }
        Self::new(nodes, roots.into_values().collect(), targets)
    }
}

/// A feature's number, as a node has it.
pub fn feature(number: i64) -> Result<usize> {
    usize::try_from(number).map_err(|_| Error::model(format!("a tree node asks for feature {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(yes: usize, no: usize) -> TreeNode {
        TreeNode::Branch { feature: 0, test: Test::AtMost, value: 0.5, missing_is_true: true, yes, no }
    }
    fn leaf(weight: f64) -> TreeNode {
        TreeNode::Leaf(vec![Vote { target: 0, weight }])
    }

    #[test]
    fn a_walk_ends_or_the_table_is_refused() {
        let forest =
            Forest::new(vec![branch(1, 2), leaf(1.0), branch(1, 3), leaf(4.0)], vec![0, 2], 1).unwrap();
        assert_eq!(forest.scores(&[0.0], 1, Aggregate::Sum), [Some(2.0)]);
        assert_eq!(forest.scores(&[1.0], 1, Aggregate::Average), [Some(4.0)]);
        assert_eq!(forest.scores(&[f64::NAN], 2, Aggregate::Max), [Some(1.0), None]);
        for (nodes, roots, text) in [
            (vec![branch(0, 1), leaf(1.0)], vec![0], "leads back"),
            (vec![branch(1, 2), branch(2, 0), leaf(1.0)], vec![0], "leads back"),
            (vec![branch(1, 7), leaf(1.0)], vec![0], "leads to 7"),
            (vec![leaf(1.0)], vec![3], "root is node 3"),
            (vec![TreeNode::Leaf(vec![Vote { target: 9, weight: 1.0 }])], vec![0], "target 9 of 1"),
        ] {
            let error = Forest::new(nodes, roots, 1).unwrap_err();
            assert!(error.message().contains(text), "{error}");
        }
    }
}
