//! Sends status updates on their own timer. Neither reader nor consumer can delay them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{BufMut, BytesMut};
use tokio::{
    io::{AsyncWriteExt, WriteHalf},
    sync::{oneshot, watch},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    change::Timestamp, lsn::Lsn, pgoutput::frame::StatusUpdate, postgres::connect::Socket,
};

use super::Shared;

/// Acknowledgements within this time are sent together.
const COALESCE: Duration = Duration::from_millis(10);

/// Runs until the connection breaks, nothing more is read of it, or `closing` resolves. Then it sends the last update,
/// and closes it.
pub async fn run(
    mut socket: WriteHalf<Box<dyn Socket>>,
    shared: Arc<Shared>,
    mut acknowledged: watch::Receiver<Lsn>,
    every: Duration,
    mut closing: oneshot::Receiver<()>,
) {
    let mut timer = interval(every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // On the timer it asks the server for its position, so that an idle server names one.
        let ask = tokio::select! {
            _ = timer.tick() => true,
            () = shared.reply.notified() => false,
            changed = acknowledged.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(COALESCE).await;
                false
            }
            _ = &mut closing => break,
            () = shared.ended.notified() => break,
        };
        let update = update(&shared, *acknowledged.borrow_and_update(), ask);
        if socket.write_all(&copy_data(&update)).await.is_err() || socket.flush().await.is_err() {
            return;
        }
    }
    let mut last = copy_data(&update(&shared, *acknowledged.borrow(), false));
    last.put_slice(&[b'c', 0, 0, 0, 4]);
    last.put_slice(&[b'X', 0, 0, 0, 4]);
    // The server may be gone already; then it has dropped the connection anyway.
    let _ = socket.write_all(&last).await;
    let _ = socket.shutdown().await;
}

fn update(shared: &Shared, acknowledged: Lsn, reply_requested: bool) -> StatusUpdate {
    let written = Lsn(shared.received.load(Ordering::Acquire));
    assert!(acknowledged <= written, "acknowledged beyond what was received");
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let clock =
        Timestamp { unix_micros: i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX) };
    StatusUpdate { written, flushed: acknowledged, applied: acknowledged, clock, reply_requested }
}

fn copy_data(update: &StatusUpdate) -> BytesMut {
    let content = update.encode();
    let mut message = BytesMut::with_capacity(content.len() + 5);
    message.put_u8(b'd');
    message.put_u32(4 + content.len() as u32);
    message.put_slice(&content);
    message
}
