// Package uplink is the agent's side of the agent protocol (libprocess.md 3.1 to 3.11):
// find the leading master, register or register again, answer its pings, pass its
// messages on, and send it what the core wants sent.
//
// # Who is believed
//
// Every message but a ping counts only when its sender is exactly the process id of the
// detected master; tasks, kills and acknowledgements count only from the master that
// has taken this agent. A ping is answered whoever sent it and in every state.
//
// # When a registration starts
//
// At a change of leader; when the link to the master breaks; when the master pings with
// connected=false; when it has not pinged for the total ping timeout (75 s unless it
// said otherwise). The first try comes within the back-off factor, later ones within
// its doubles, at most one minute apart; a master that cannot even be connected to is
// tried again within the factor, since such a try costs nobody anything.
//
// # Goroutines
//
// Run owns everything in loop; the transport's mailbox goroutine only passes messages
// to it. Send methods may be called from any goroutine: they read the master's process
// id from an atomic pointer.
package uplink
