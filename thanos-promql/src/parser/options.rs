//! What a parser accepts beyond the stable language. There are no global switches.

/// The parts of the language that are on, and the limits on the size of an expression.
///
/// The default is what a Prometheus 3.14 server accepts without feature flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Experimental functions and aggregations.
    pub experimental_functions: bool,
    /// Arithmetic, `step()`, `range()`, `min_of()` and `max_of()` in ranges and offsets.
    pub duration_expressions: bool,
    /// The modifiers `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// The binary modifiers `fill`, `fill_left` and `fill_right`.
    pub fill_modifiers: bool,
    /// Thanos' `xrate`, `xincrease` and `xdelta`.
    pub x_functions: bool,
    /// Most bytes of text that are read.
    pub text_bytes_max: u32,
    /// Most levels of the expression tree, so that recursive passes over it have a bounded stack.
    pub depth_max: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: true,
            extended_range_selectors: false,
            fill_modifiers: false,
            x_functions: false,
            text_bytes_max: 16 << 20,
            depth_max: 1000,
        }
    }
}

impl Options {
    /// Returns the options with every part of the language on.
    pub fn all() -> Self {
        Self {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
            x_functions: true,
            ..Self::default()
        }
    }
}
