package core

// Launch tokens hold launches back when Config.LaunchTokens asks for it (marathon.md 6.1):
// every launch takes one, an instance that runs gives one back, and all are back after
// Config.TokenRefresh.

// ration cuts what is wanted of the orders down to the tokens that are left.
func (c *Core) ration(orders []*order) {
	if c.cfg.LaunchTokens <= 0 {
		return
	}
	left := c.tokens
	for _, o := range orders {
		o.want.Want = min(o.want.Want, left)
		left -= o.want.Want
	}
}

// spendTokens notes launches.
func (c *Core) spendTokens(n int) { c.tokens = max(0, c.tokens-n) }

// giveTokens lets so many more launches happen. Who waited is offered something again.
func (c *Core) giveTokens(n int) {
	if c.cfg.LaunchTokens <= 0 || c.tokens == c.cfg.LaunchTokens {
		return
	}
	none := c.tokens == 0
	c.tokens = min(c.cfg.LaunchTokens, c.tokens+n)
	if !none {
		return
	}
	for _, l := range c.queue {
		if l.scheduled > 0 {
			c.wanted(l)
		}
	}
}
