//! Whole queries, evaluated by another component.

use async_trait::async_trait;
use futures::{StreamExt, stream};
use thanos_core::error::Result;
use tonic::{Response, Status, Streaming};

use super::{RemoteStore, for_tenant};
use crate::apis::query::{QueryApi, QueryRequest, QueryStream};
use crate::convert::apis::query::{Answered, Sent, request_to_pb};
use crate::pb::thanos::query_client::QueryClient;

#[async_trait]
impl QueryApi for RemoteStore {
    async fn query(&self, request: QueryRequest) -> Result<QueryStream> {
        let tenant = request.tenant.clone();
        let mut client = QueryClient::new(self.channel())
            .max_decoding_message_size(self.inner.settings.message_bytes_max)
            .max_encoding_message_size(usize::MAX);
        match request_to_pb(request)? {
            Sent::Instant(message) => self.events(client.query(for_tenant(message, &tenant)).await),
            Sent::Range(message) => {
                self.events(client.query_range(for_tenant(message, &tenant)).await)
            }
        }
    }
}

impl RemoteStore {
    /// Returns the pieces of an answer; its reader bounds what it keeps of them.
    fn events<M: Answered + 'static>(
        &self,
        answer: std::result::Result<Response<Streaming<M>>, Status>,
    ) -> Result<QueryStream> {
        let messages = answer.map_err(|status| self.error(status))?.into_inner();
        let store = self.clone();
        let event = move |message: std::result::Result<M, Status>| {
            let message = message.map_err(|status| store.error(status));
            let event = message.and_then(|message| message.event(store.address()));
            stream::iter(event.transpose())
        };
        Ok(messages.flat_map(event).boxed())
    }
}
