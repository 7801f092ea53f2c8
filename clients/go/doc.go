// Package writ is the Go enforcement point of Writ: it asks whether an agent's
// action may take effect, does what the answer commands, and reports how the
// action ended.
//
// [Client.Enforce] is the way to put a tool call behind Writ: the call runs only
// when it was allowed and every obligation that comes before it was met, and its
// result goes on only when that was allowed too. [Client.EnforcePrompt] and
// [Client.EnforceConnect] do the same for prompts and outbound connections,
// [Client.FilterTools] for tools/list. A connection is made by [Permitted.Dial], whose
// sockets connect to no other address than Writ lets them. [Client.Decide] and [Client.Settle] are
// for callers who meet the obligations themselves.
//
// The package fails closed. Without an answer, with an answer that it does not
// wholly understand, or with an obligation that cannot be met, it returns an
// error and nothing runs. It never puts a token, an argument or a result into an
// error or a log line.
package writ
