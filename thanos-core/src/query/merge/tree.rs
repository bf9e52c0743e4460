//! A tournament tree of losers over offset-value codes.
//!
//! Inner node `n` keeps the source that lost there; its children are `2n` and `2n + 1`, where numbers from the
//! count of sources on are the leaves. Along the way from the winner's leaf to the root all losers lost to that
//! winner, so that their codes are relative to it, and so is the code of the winner's successor.

use std::cmp::Ordering;

use super::code::{EQUAL, EXHAUSTED, compare, known_bytes};

/// The losers of each match and the codes of all sources.
#[derive(Debug)]
pub(super) struct LoserTree {
    /// The winner of all in place 0, then the loser of each inner node.
    losers: Vec<u32>,
    codes: Vec<u64>,
}

impl LoserTree {
    /// Plays all matches between sources with these codes, which are relative to the same key.
    pub(super) fn new<'k>(codes: Vec<u64>, key: impl Fn(usize) -> &'k [u8]) -> Self {
        let count = codes.len();
        let mut tree = Self {
            losers: vec![0; count],
            codes,
        };
        let mut winners: Vec<usize> = vec![0; count];
        winners.extend(0..count);
        for node in (1..count).rev() {
            let (winner, loser) = tree.play(winners[2 * node], winners[2 * node + 1], &key);
            winners[node] = winner;
            tree.losers[node] = number(loser);
        }
        if let Some(winner) = winners.get(1) {
            tree.losers[0] = number(*winner);
        }
        tree
    }

    /// Returns the source with the smallest key and its code, which is relative to the previous winner.
    pub(super) fn winner(&self) -> (usize, u64) {
        let source = self.losers[0] as usize;
        (source, self.codes[source])
    }

    /// Puts in the next key of the winner, whose code is relative to the key that won.
    pub(super) fn replace_winner<'k>(&mut self, code: u64, key: impl Fn(usize) -> &'k [u8]) {
        let mut winner = self.losers[0] as usize;
        self.codes[winner] = code;
        let mut node = (winner + self.losers.len()) / 2;
        while node > 0 {
            let (better, loser) = self.play(winner, self.losers[node] as usize, &key);
            winner = better;
            self.losers[node] = number(loser);
            node /= 2;
        }
        self.losers[0] = number(winner);
    }

    /// Returns (winner, loser) of a match; equal keys are won by the first source.
    fn play<'k>(&mut self, a: usize, b: usize, key: impl Fn(usize) -> &'k [u8]) -> (usize, usize) {
        let in_order = (a.min(b), a.max(b));
        match self.codes[a].cmp(&self.codes[b]) {
            Ordering::Less => (a, b),
            Ordering::Greater => (b, a),
            Ordering::Equal => match self.codes[a] {
                EQUAL | EXHAUSTED => in_order,
                code => {
                    let (order, loser_code) = compare(key(a), key(b), known_bytes(code));
                    let (winner, loser) = match order {
                        Ordering::Less => (a, b),
                        Ordering::Greater => (b, a),
                        Ordering::Equal => in_order,
                    };
                    self.codes[loser] = loser_code;
                    (winner, loser)
                }
            },
        }
    }
}

fn number(source: usize) -> u32 {
    u32::try_from(source).expect("there are fewer than 2^32 sources")
}
