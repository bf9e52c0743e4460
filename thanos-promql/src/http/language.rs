//! `format_query` and `parse_query`: a query as text and as a tree, without any data.

use axum::extract::State;
use axum::response::Response;

use super::Api;
use super::answer::{Failure, Remarks, success};
use super::ast_json::write_expr;
use super::params::{Params, invalid};
use crate::json::write_string;
use crate::parser::{self, Expr};

pub(super) async fn format_query(
    State(api): State<Api>,
    params: Params,
) -> Result<Response, Failure> {
    let mut out = Vec::new();
    write_string(&mut out, &parse(&api, &params)?.pretty());
    Ok(success(out, &Remarks::default()))
}

pub(super) async fn parse_query(
    State(api): State<Api>,
    params: Params,
) -> Result<Response, Failure> {
    let mut out = Vec::new();
    write_expr(&mut out, &parse(&api, &params)?);
    Ok(success(out, &Remarks::default()))
}

fn parse(api: &Api, params: &Params) -> Result<Expr, Failure> {
    let options = &api.engine.options().parser;
    parser::parse(params.get("query"), options)
        .map_err(|error| invalid("query", &error.to_string()))
}
