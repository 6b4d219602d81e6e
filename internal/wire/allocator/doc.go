// Package allocator holds statements of allocators inside operator and maintenance messages.
// They are generated from the .proto file beside this one.
package allocator
