//! The one direction of the crates: `core <- storeapi <- {promql, bucket} <- examples, benches`.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// Each published crate with the published crates it may use.
const ALLOWED: [(&str, &[&str]); 4] = [
    ("thanos-core", &[]),
    ("thanos-storeapi", &["thanos-core"]),
    ("thanos-promql", &["thanos-core", "thanos-storeapi"]),
    ("thanos-bucket", &["thanos-core", "thanos-storeapi"]),
];

/// The most packages in the normal dependency tree of thanos-core, itself included.
const CORE_PACKAGES_MAX: usize = 45;

/// Packages that bring a runtime or a network into thanos-core.
const CORE_FORBIDDEN: [&str; 6] = ["tokio", "hyper", "tonic", "axum", "reqwest", "object_store"];

/// Checks the direction of the crates and what thanos-core pulls in.
pub(crate) fn check() -> Result<String, String> {
    let mut problems = wrong_directions(&metadata()?);
    let core = core_packages()?;
    if core.len() > CORE_PACKAGES_MAX {
        problems.push(format!(
            "thanos-core has {} packages, at most {CORE_PACKAGES_MAX} are allowed",
            core.len()
        ));
    }
    problems.extend(
        CORE_FORBIDDEN
            .iter()
            .filter(|name| core.contains(**name))
            .map(|name| format!("thanos-core depends on {name}")),
    );
    if problems.is_empty() {
        Ok(format!(
            "layers: in order; thanos-core has {} packages",
            core.len()
        ))
    } else {
        Err(problems.join("\n"))
    }
}

fn cargo(arguments: &[&str]) -> Result<String, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(arguments)
        .output()
        .map_err(|error| format!("cargo {}: {error}", arguments.join(" ")))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn metadata() -> Result<Value, String> {
    let text = cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ])?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))
}

fn wrong_directions(metadata: &Value) -> Vec<String> {
    let published: BTreeSet<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    let packages = metadata["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut problems = Vec::new();
    for (name, allowed) in ALLOWED {
        let Some(package) = packages.iter().find(|package| package["name"] == name) else {
            problems.push(format!("{name} is not in the workspace"));
            continue;
        };
        let dependencies = package["dependencies"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for dependency in dependencies {
            let target = dependency["name"].as_str().unwrap_or_default();
            let is_self_test = target == name && dependency["kind"] == "dev";
            if published.contains(target) && !allowed.contains(&target) && !is_self_test {
                problems.push(format!("{name} must not depend on {target}"));
            }
        }
    }
    problems
}

/// Returns the names of all packages in the normal tree of thanos-core.
fn core_packages() -> Result<BTreeSet<String>, String> {
    let tree = cargo(&[
        "tree",
        "-p",
        "thanos-core",
        "-e",
        "normal",
        "--prefix",
        "none",
        "--offline",
    ])?;
    let name = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(tree.lines().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_against_the_direction_is_named() {
        let metadata = serde_json::json!({"packages": [
            {"name": "thanos-core", "dependencies": [{"name": "thanos-bucket", "kind": null}]},
            {"name": "thanos-storeapi", "dependencies": []},
            {"name": "thanos-promql", "dependencies": [{"name": "thanos-core", "kind": null}]},
            {"name": "thanos-bucket", "dependencies": [{"name": "thanos-promql", "kind": "dev"}]},
        ]});
        assert_eq!(
            wrong_directions(&metadata),
            [
                "thanos-core must not depend on thanos-bucket",
                "thanos-bucket must not depend on thanos-promql"
            ]
        );
    }
}
