// Package daemon is skydmsg, the relay as a program: its command line, its
// configuration file, its entry in the discovery, its health page and its metrics
// around package relay.
package daemon
