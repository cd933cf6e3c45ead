// Package httpd is what the deployment's HTTP services have in common: a fasthttp
// server with bounds on everything that a stranger can hold or make it hold, the
// identity of callers, over TCP and over dmsg, and rate limits by it.
package httpd
