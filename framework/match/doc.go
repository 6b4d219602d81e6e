// Package match places instances on offers: launch specs and offers in, launches or
// counted reasons out. It is pure and keeps nothing between calls.
package match
