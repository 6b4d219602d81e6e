// Package ledgersim holds the seeded simulation of the master's cores: a ledger with its
// allocator, a registry, agents and frameworks, all as plain values in virtual time.
// One seed decides everything: delays, lost and repeated messages, broken links, failed
// writes, deposed leaders, and crashes between any two effects. There is nothing here but
// tests.
package ledgersim
