// Package yamux carries many streams over one connection, in the wire format of
// hashicorp/yamux as the deployed dmsg network speaks it.
//
// A frame is a header of 12 bytes and, for data, a body. Each direction of a
// stream has credit: the bytes that the sender may still send. It begins at
// InitialWindow and grows with every window update; a sender takes any credit.
// A receiver may therefore grant more than it began with, and here it does: a
// stream whose reader waits for a sender that has run out of credit gets a wider
// window, up to what the process's Budget has left (window.go).
//
// What is promised beyond the format:
//   - A stream that nobody reads holds at most its window and stops nobody else.
//   - An error of one stream ends that stream. The session ends where the peer
//     breaks the framing itself, or stops reading or answering.
//   - Writers never block in the kernel: a frame goes out inline while the
//     connection takes it, and through a short queue when it does not. Control
//     frames overtake the queue.
//   - An idle session holds no buffer.
//
// Left out: what a stream's bytes mean, and any protection of them. Headers
// travel in the clear, as the deployed protocol has it.
package yamux
