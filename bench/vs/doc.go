// Package vs runs the same transfer, one TCP stream of iperf3 between two
// namespaces, through Skywire and through other software on the same wire: plain
// TCP, wireguard-go and nebula. All are up for the whole run and take turns.
//
//	a ───────────── veth ───────────── b
//	iperf3 -c, peer              peer, iperf3 -s
//
// The others get what is best for them on that wire: the largest MTU that fits
// 1500 bytes, ChaCha20-Poly1305, and their defaults in all else. Linux only.
package vs
