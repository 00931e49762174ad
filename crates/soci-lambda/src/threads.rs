//! The runtime under a function, and its end.

use std::future::Future;
use std::io;

use tokio::runtime::Builder;

/// Runs `work` to its end on a runtime of this kind, and waits for nothing else.
///
/// A runtime that is dropped waits for the threads that it lent, without a limit, and one that looks
/// up a host name cannot be stopped. Lambda bills for the wait.
pub fn block_on<T>(runtime: &mut Builder, work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = runtime.enable_all().build()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test hangs where the rule is broken.
    #[test]
    fn a_thread_that_never_ends_keeps_no_function() {
        for mut runtime in [Builder::new_current_thread(), Builder::new_multi_thread()] {
            let begun = block_on(&mut runtime, async {
                let (sender, begun) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    let _ = sender.send(());
                    loop {
                        std::thread::park();
                    }
                });
                begun.await
            });
            assert!(begun.unwrap().is_ok());
        }
    }
}
