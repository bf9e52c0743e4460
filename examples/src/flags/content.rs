//! Pairs of flags for configuration: `--x.config` with the YAML itself, `--x.config-file` with the path of a file.

use std::path::PathBuf;

use thanos_core::{Error, Result};

/// Returns the configuration that `--<flag>` or `--<flag>-file` gives, `None` when it is empty. `$(NAME)` in it stands for
/// the environment variable `NAME`, as in Kubernetes.
///
/// # Errors
///
/// `Invalid` when both are given or a variable is not set; when the file cannot be read.
pub fn content(
    flag: &str,
    inline: &Option<String>,
    file: &Option<PathBuf>,
) -> Result<Option<String>> {
    let inline = inline.as_deref().filter(|text| !text.is_empty());
    let file = file.as_ref().filter(|path| !path.as_os_str().is_empty());
    let text = match (inline, file) {
        (Some(_), Some(_)) => {
            let message = format!("both {flag}-file and {flag} flags set.");
            return Err(Error::invalid(message));
        }
        (Some(text), None) => text.to_owned(),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
            let what = format!("loading the file for --{flag}-file");
            Error::from(error)
                .in_file(path.display().to_string())
                .context(what)
        })?,
        (None, None) => return Ok(None),
    };
    let text = with_variables(&text, |name| std::env::var(name).ok())
        .map_err(|error| error.context(format!("--{flag}")))?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// Replaces each `$(NAME)` by what `lookup` says.
fn with_variables(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$(") {
        out.push_str(before);
        let len = after
            .bytes()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == b'_')
            .count();
        let (name, behind) = after.split_at(len);
        match behind.strip_prefix(')').filter(|_| len > 0) {
            Some(behind) => {
                let value = lookup(name).ok_or_else(|| {
                    let message = format!("found reference to unset environment variable {name:?}");
                    Error::invalid(message)
                })?;
                out.push_str(&value);
                rest = behind;
            }
            None => {
                out.push_str("$(");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    ///
    #[test]
    fn variables_are_replaced_where_they_are_meant() {
        let lookup = |name: &str| (name == "KEY_1").then(|| "$(not again)".to_owned());
        let expand = |text: &str| with_variables(text, lookup);
        assert_eq!(expand("a: $(KEY_1)!").unwrap(), "a: $(not again)!");
        for plain in [
            "", "$KEY_1", "$()", "$(KEY-1)", "$(KEY_1", "($(", "${KEY_1}",
        ] {
            assert_eq!(expand(plain).unwrap(), plain);
        }
        let error = expand("x: $(NOPE)").unwrap_err().to_string();
        assert!(error.contains("\"NOPE\""), "{error}");
    }

    ///
    #[test]
    fn one_of_the_two_flags_may_be_given() {
        let (text, file) = (Some("type: X".to_owned()), Some(PathBuf::from("/no/such")));
        assert_eq!(content("x", &text, &None).unwrap(), text);
        assert_eq!(content("x", &Some(String::new()), &None).unwrap(), None);
        assert_eq!(content("x", &None, &Some(PathBuf::new())).unwrap(), None);
        let both = content("x", &text, &file).unwrap_err().to_string();
        assert!(both.contains("both x-file and x flags set."), "{both}");
        let missing = content("x", &None, &file).unwrap_err().to_string();
        assert!(missing.contains("/no/such"), "{missing}");
    }
}
