package app

import "encoding/json"

// List is a slice that is written as [] when it is nil.
type List[T any] []T

// MarshalJSON writes the elements, never null.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Dict is a map of strings that is written as {} when it is nil.
type Dict map[string]string

// MarshalJSON writes the entries sorted by key, never null.
func (d Dict) MarshalJSON() ([]byte, error) {
	if d == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]string(d))
}
