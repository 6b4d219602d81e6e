package ledger

// operatorCall carries out an operator's call that changes the book.
func (l *Ledger) operatorCall(c OperatorCall) {
	l.emit(Answer{Ticket: c.Ticket, Code: 501, Body: "The call " + c.Call.GetType().String() + " is not supported by this master"})
}
