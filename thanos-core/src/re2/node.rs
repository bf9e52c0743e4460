//! A parsed part of a pattern with the measures that Go's limits are about.

use regex_syntax::hir::{Capture, Hir, Repetition};

/// The most instructions of Go's compiled form (its limit: 128 MiB at 40 bytes each).
const SIZE_MAX: u64 = (128 << 20) / 40;

/// The most nodes on a path from the root to a leaf (Go's limit).
const HEIGHT_MAX: u32 = 1000;

/// What a node is, as far as flattening cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Concat,
    Alternation,
    Other,
}

/// A part of a pattern.
#[derive(Debug)]
pub(super) struct Node {
    hir: Hir,
    shape: Shape,
    /// Instructions when compiled by Go, roughly.
    size: u64,
    /// Height of Go's tree; captures count, groups do not.
    height: u32,
    /// The largest product of counted repetitions on a path to a leaf.
    repeats: u32,
}

impl Node {
    /// Returns a class, an assertion or nothing.
    pub(super) fn leaf(hir: Hir) -> Self {
        Self {
            hir,
            shape: Shape::Other,
            size: 1,
            height: 1,
            repeats: 1,
        }
    }

    /// Returns characters that mean themselves.
    pub(super) fn literal(text: String) -> Self {
        let size = text.chars().count() as u64;
        Self {
            size,
            ..Self::leaf(Hir::literal(text.into_bytes()))
        }
    }

    /// Returns `nodes` one after the other.
    pub(super) fn concat(nodes: Vec<Self>) -> Self {
        Self::join(nodes, Shape::Concat, 0, Hir::concat)
    }

    /// Returns one of `nodes`.
    pub(super) fn alternation(nodes: Vec<Self>) -> Self {
        let jumps = nodes.len().saturating_sub(1) as u64;
        Self::join(nodes, Shape::Alternation, jumps, Hir::alternation)
    }

    fn join(mut nodes: Vec<Self>, shape: Shape, extra: u64, make: fn(Vec<Hir>) -> Hir) -> Self {
        if nodes.len() == 1 {
            return nodes.remove(0);
        }
        // A concatenation inside a concatenation is no level of its own.
        let depth = |node: &Self| node.height - u32::from(node.shape == shape);
        let size = nodes
            .iter()
            .fold(extra, |size, node| size.saturating_add(node.size));
        Self {
            shape,
            size: size.max(1),
            height: 1 + nodes.iter().map(depth).max().unwrap_or(0),
            repeats: nodes.iter().map(|node| node.repeats).max().unwrap_or(1),
            hir: make(nodes.into_iter().map(|node| node.hir).collect()),
        }
    }

    /// Returns the node as the capture with this number and name.
    pub(super) fn captured(self, index: u32, name: Option<Box<str>>) -> Self {
        let sub = Box::new(self.hir);
        Self {
            hir: Hir::capture(Capture { index, name, sub }),
            shape: Shape::Other,
            size: self.size.saturating_add(2),
            height: self.height + 1,
            ..self
        }
    }

    /// Returns the node repeated; `is_counted` tells `x{0,}` from `x*`, which Go measures differently.
    pub(super) fn repeated(
        self,
        (min, max): (u32, Option<u32>),
        is_counted: bool,
        greedy: bool,
    ) -> Self {
        let sub = self.size;
        let size = match (min, max) {
            (0, None) => sub.saturating_add(2),
            (min, None) => sub.saturating_mul(min.into()).saturating_add(1),
            (0, Some(1)) if !is_counted => sub.saturating_add(1),
            (min, Some(max)) => sub
                .saturating_mul(max.into())
                .saturating_add(max.saturating_sub(min).into()),
        };
        let repeats = match (is_counted, max.unwrap_or(min)) {
            // Nothing is copied zero times, whatever lies below.
            (true, 0) if max.is_some() => 1,
            (true, count) => self.repeats.saturating_mul(count.max(1)),
            (false, _) => self.repeats,
        };
        let repetition = Repetition {
            min,
            max,
            greedy,
            sub: Box::new(self.hir),
        };
        Self {
            hir: Hir::repetition(repetition),
            shape: Shape::Other,
            size: size.max(1),
            height: self.height + 1,
            repeats,
        }
    }

    /// Returns the largest product of counted repetitions on a path to a leaf.
    pub(super) fn repeats(&self) -> u32 {
        self.repeats
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.size > SIZE_MAX
    }

    pub(super) fn nests_too_deeply(&self) -> bool {
        self.height > HEIGHT_MAX
    }

    pub(super) fn into_hir(self) -> Hir {
        self.hir
    }
}
