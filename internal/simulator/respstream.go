package simulator

// respStream numbers the events of a Response.
type respStream struct {
	response
	out   []frame
	index int // of the output item
}

func (s *respStream) send(p part, name string, more ...member) {
	o := object{{"type", name}, {"sequence_number", len(s.out)}}.with(more...)
	s.out = append(s.out, frame{sse(name, compact(o)), p})
}

// frames is the stream in the order of the grammar: created, in_progress, each
// item with its parts, and one terminal event.
func (x response) frames() []frame {
	s := &respStream{response: x}
	begun := member{"response", x.whole("in_progress", list{}, nil, nil)}
	s.send(preamble, "response.created", begun)
	s.send(preamble, "response.in_progress", begun)
	if x.a.thinking != "" {
		s.think()
	}
	if x.a.text != "" {
		s.speak()
	}
	for i, t := range x.a.calls {
		s.callTool(t, x.callStatus(i))
	}
	s.send(ending, "response."+x.status(), member{"response", x.whole(x.status(), x.items(), nil, x.usage())})
	return s.out
}

func (s *respStream) added(p part, item object) {
	s.send(p, "response.output_item.added", member{"output_index", s.index}, member{"item", item})
}

func (s *respStream) finished(item object) {
	s.send(ending, "response.output_item.done", member{"output_index", s.index}, member{"item", item})
	s.index++
}

func (s *respStream) at(item object, where string) object {
	return object{{"item_id", item[0].value}, {"output_index", s.index}, {where, 0}}
}

func (s *respStream) think() {
	empty, full := s.reasoning(list{}), s.reasoning(list{summary(s.a.thinking)})
	s.added(preamble, empty)
	at := s.at(empty, "summary_index")
	s.send(preamble, "response.reasoning_summary_part.added", at.with(member{"part", summary("")})...)
	for _, t := range pieces(s.a.thinking, s.chunks()) {
		s.send(content, "response.reasoning_summary_text.delta", at.with(member{"delta", t})...)
	}
	s.send(ending, "response.reasoning_summary_text.done", at.with(member{"text", s.a.thinking})...)
	s.send(ending, "response.reasoning_summary_part.done", at.with(member{"part", summary(s.a.thinking)})...)
	s.finished(full)
}

func (s *respStream) speak() {
	item := s.message("in_progress", list{})
	s.added(preamble, item)
	at := s.at(item, "content_index")
	s.send(preamble, "response.content_part.added", at.with(member{"part", outputText("")})...)
	for _, t := range pieces(s.a.text, s.chunks()) {
		s.send(content, "response.output_text.delta", at.with(member{"delta", t}, member{"logprobs", list{}})...)
	}
	s.send(ending, "response.output_text.done", at.with(member{"text", s.a.text}, member{"logprobs", list{}})...)
	s.send(ending, "response.content_part.done", at.with(member{"part", outputText(s.a.text)})...)
	s.finished(s.message(s.textStatus(), list{outputText(s.a.text)}))
}

func (s *respStream) callTool(t toolCall, status string) {
	item := s.function(t, "in_progress", "")
	s.added(content, item)
	at := object{{"item_id", item[0].value}, {"output_index", s.index}}
	for _, args := range pieces(t.args, s.chunks()) {
		s.send(content, "response.function_call_arguments.delta", at.with(member{"delta", args})...)
	}
	s.send(ending, "response.function_call_arguments.done", at.with(member{"arguments", t.args})...)
	s.finished(s.function(t, status, t.args))
}
