//! Bodies of requests, which are given up once they send nothing for too long.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::reply::{ApiError, Code};

/// Bytes that are gathered before they are written and hashed.
const BLOCK: usize = 1 << 20;

/// A whole body of at most `limit` bytes.
pub(crate) async fn read_body(
    body: Body,
    limit: usize,
    stall: Duration,
) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut stream, stall).await? {
        if bytes.len() + piece.len() > limit {
            let message = format!("a manifest has at most {limit} bytes");
            return Err(ApiError::new(Code::TooLarge, message));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

/// A body that is read in blocks.
pub(crate) struct BlockReader {
    stream: BodyDataStream,
    stall: Duration,
    ended: bool,
}

impl BlockReader {
    /// `stall` is how long the body may send nothing.
    pub(crate) fn new(body: Body, stall: Duration) -> Self {
        Self { stream: body.into_data_stream(), stall, ended: false }
    }

    /// Whether the body has come to its end.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The next pieces, of about [`BLOCK`] bytes together, and why the body broke off, if it did.
    pub(crate) async fn block(&mut self) -> (Vec<Bytes>, Option<ApiError>) {
        let (mut pieces, mut size) = (Vec::new(), 0);
        while size < BLOCK {
            match next(&mut self.stream, self.stall).await {
                Ok(Some(piece)) => {
                    size += piece.len();
                    pieces.push(piece);
                }
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Err(broken) => return (pieces, Some(broken)),
            }
        }
        (pieces, None)
    }
}

/// The next piece of a request's body.
async fn next(stream: &mut BodyDataStream, stall: Duration) -> Result<Option<Bytes>, ApiError> {
    match timeout(stall, stream.next()).await {
        Ok(Some(Ok(piece))) => Ok(Some(piece)),
        Ok(Some(Err(_))) => Err(ApiError::new(Code::Broken, "the body broke off")),
        Ok(None) => Ok(None),
        Err(_) => Err(ApiError::new(Code::Broken, "the body sent nothing for too long")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const IDLE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn a_body_that_sends_nothing_is_given_up() {
        let piece = futures_util::stream::once(async { Ok::<_, std::io::Error>("0123") });
        let body = Body::from_stream(piece.chain(futures_util::stream::pending()));
        let mut body = BlockReader::new(body, IDLE);
        let begun = Instant::now();
        let (pieces, broken) = body.block().await;
        assert_eq!(pieces, ["0123"]);
        assert_eq!(broken.unwrap().code, Code::Broken);
        assert_eq!(begun.elapsed(), IDLE);
    }
}
