package ledger

// operatorCall carries out an operator's call that changes the book.
func (l *Ledger) operatorCall(c OperatorCall) {
	if on, op := operatorOperation(c.Call); op != nil {
		l.operateFor(c, on, op)
		return
	}
	l.emit(Answer{Ticket: c.Ticket, Code: 501, Body: "The call " + c.Call.GetType().String() + " is not supported by this master"})
}
