//! An HTTP server on its own thread, so that tests with and without a runtime can have one.

use std::net::TcpListener;
use std::thread::JoinHandle;

use axum::Router;
use tokio::sync::oneshot;

/// A server; dropping it ends its thread and all its connections.
#[derive(Debug)]
pub(super) struct ServerThread {
    address: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServerThread {
    /// Serves `router` on a free port of the loopback interface.
    pub(super) fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        listener
            .set_nonblocking(true)
            .expect("a socket can be made non-blocking");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || serve(listener, router, stopped));
        Self {
            address: address.to_string(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime needs only threads and memory");
    runtime.block_on(async {
        let listener =
            tokio::net::TcpListener::from_std(listener).expect("the socket is non-blocking");
        let server = std::pin::pin!(axum::serve(listener, router).into_future());
        futures::future::select(server, stopped).await;
    });
    // Connections are tasks of this runtime and end with it.
    runtime.shutdown_background();
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
