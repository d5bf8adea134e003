// Package compat drives a built keybridge with the official SDKs of the providers:
// what they notice of a failover (nothing), and what they notice of an answer that
// breaks (an error, never a short answer). Its module of its own keeps the SDKs
// out of the gateway's.
package compat
