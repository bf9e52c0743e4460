//! Components in the test's own process, asked over gRPC like any other.

use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;

use thanos_storeapi::apis::Apis;
use thanos_storeapi::server::{ServerSettings, StoreServer, serve};
use thanos_storeapi::store::Store;
use thanos_storeapi::testkit::{FixedApis, MemStore};

/// Serves a component with this store and these answers until the test process ends, and returns its address.
pub(crate) fn component(store: MemStore, apis: FixedApis) -> String {
    serve_component(Arc::new(store), apis.apis())
}

/// Serves a component of `store` and `apis` until the test process ends, and returns its address.
pub(crate) fn serve_component(store: Arc<dyn Store>, apis: Apis) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (running, started) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async move {
            let settings = ServerSettings::default();
            let server = StoreServer::new(store, settings.clone()).with_apis(apis);
            server.readiness().set_ready().await;
            running.send(()).unwrap();
            serve(listener, server.router(), &settings, std::future::pending()).await
        })
    });
    started.recv().unwrap();
    address
}
