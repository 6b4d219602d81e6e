package names

// KeepPages sets the size from which sets are kept in pages, for tests with small sets.
func KeepPages(from int) (before int) {
	before, manyValues = manyValues, from
	return before
}
