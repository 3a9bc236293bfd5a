"""Words for :mod:`rankops.pii.people`: frequent given and family names, brands and sayings that look like names, and
words that stand after "for" or "mr" and are no name. In lower case.
"""

from __future__ import annotations

GIVEN = frozenset(
    """
    aaron abby abigail adam adrian adriana agata agnes agnieszka ahmed ahmet aidan aisha alan albert alberto
    aleksander aleksandra alessandra alessandro alessia alex alexander alexandra alexandre alexis alfred alfredo ali
    alice alicia alina alison allison amanda amelia amit amy amélie ana anastasia anaïs anders andre andrea andreas
    andreia andrew andrzej andré angel angela angelika angelina anil anita anja anke ann anna anne annette annie
    anthony antje anton antonella antonio antónio arne arthur artur arun asha ashley astrid audrey aurélie ayhan ayse
    ayten ayşe barbara barbro bartosz beata beatrice beatriz ben benjamin benoît bernard bernd bernhard beth betty
    birgit björn boris brandon brenda brian bruno burak bärbel büşra camila camille carla carlos carmen carol carolina
    caroline carolyn catarina catherine cathy cecilia chantal charles charlie charlotte chiara chloé chris christian
    christiane christina christine christophe christopher claire clara clarice claude claudia claudio claus cláudia
    connor corinne craig cristiano cristina cynthia cyril cédric céline dagmar damian daniel daniela daniele danielle
    danuta dariusz darren dave david davide dawid dean debbie deborah deepak denis denise dennis derek diana diane
    diego dieter dimitri dirk dolores dominic dominik donald donna dorota dorothy douglas duarte dylan eduardo edward
    ekrem elaine elena eleonora elif elin elisa elisabeth elise elizabeth elke ella elsa emanuele emily emine emma
    emre enrico enrique eric erica erik erika ernst esra esther ethan eugene eva eve evelyn ewa fabian fabio fatih
    fatma federica federico felix fernanda fernando filip filipa filippo finn florian frances francesca francesco
    francisco franck frank franz françois françoise fred frederik friedrich frédéric gabriel gabriela gabriele gareth
    gary gavin geoffrey georg george gerald gerard gerd gerhard gertrud giacomo gianluca gina giorgia giorgio giovanni
    giulia giuseppe gloria gonzalo gordon grace graham grażyna grzegorz guilherme guillaume gunnar gustav guy gökhan
    günter günther halina hanna hannah hans harald harriet harry hasan hatice heather heidi heike heinrich heinz helen
    helena helga helmut hendrik henri henrik henry herbert hermann holger horst hugo hülya hüseyin ian ibrahim ignacio
    igor ilona ines inga inge ingo ingrid inês irena irene irina isaac isabel isabella isabelle iwona jacek jack
    jackie jacob jacqueline jacques jake jakob jakub james jamie jan jana jane janet janice janine jared jarosław
    jasmin jason javier jean jeff jeffrey jelle jennifer jens jeremy jerzy jessica jesús jill jim jimmy joan joana
    joanna joanne joaquín jochen joe joel joerg johan johanna johannes john johnny jolanta jonas jonathan jorge jose
    josef joseph josephine josh joshua josé joyce joão juan judith judy julia julian juliana julie julien julius
    justin justyna jörg jürgen kai karen karim karin karl karolina katarzyna kate katharina katherine kathleen kathryn
    kathy katie katja kavita kazimierz keith kelly ken kenneth kerstin kevin kim kirsten kirsty klaus konrad krystyna
    krzysztof kurt kyle lara lars laura lauren laurent lea leah lee lena leo leon leonardo leslie lewis liam lidia
    lina linda lisa liz lorena lorenzo lotte louis louise luc luca lucas lucia lucie lucy luis luisa lukas luke luz
    luís lydia maarten maciej madison magdalena maja malgorzata manfred manoj manuel manuela marc marcel marcin marco
    marcos marcus marek margaret margarita margherita maria mariana marianne marie marina mario marion marisa marius
    mariusz markus marlene marta martha martin martina martine martyna mary maría massimo mateusz mathias mathieu
    mathilde matilde matteo matthew matthias matthieu maureen maurice maximilian małgorzata megan mehmet meike melanie
    melissa mercedes mia michael michał michel michela michele michelle miguel mikael mike mikołaj miriam mirosław
    mohamed mohammad mohammed monica monika monique moritz murat mustafa nadine nancy naomi natalia natalie nathalie
    nathan neha neil nicholas nick nico nicola nicolas nicole niels nikolaus nils nina noah noemi nora norbert norma
    nuno olaf olga oliver olivia olivier oscar oskar osman owen pablo pamela paola paolo pascal patrice patricia
    patrick patrizia patryk paul paula paulina pauline paulo pawel paweł pedro peggy penny peter petra phil philip
    philipp philippe phillip pia pierre pietro piotr priya rachel rafael rafał rahul rainer raj rajesh ralf ralph
    ramona raquel ravi raymond raúl rebecca regina reinhard renata renate rené ricardo riccardo richard rita robert
    roberta roberto robin rodrigo roger roland rolf roman ronald rosa rosemary ruben rui ruth ryan rüdiger sabine
    sabrina sally salvatore sam samantha samuel sandeep sandra sandrine sanjay santiago sara sarah sascha scott sean
    sebastian selin serge sergio serkan sevgi seyma shannon sharon sheila shirley sibylle siegfried sigrid silke
    silvia silvio simon simona simone slawomir sofia sonia sophia sophie stacy stanisław stefan stefania stefanie
    stefano steffen steffi stephan stephanie stephen steve steven stuart stéphane sue sunita suresh susan susana
    susanne suzanne sven svenja sylvia sylvie sylwia sébastien sławomir tamara tania tanja tara tatiana ted teresa
    thea theo theresa thiago thierry thomas thorsten thérèse tiago tiffany till tim timo timothy tina tobias todd tom
    tomasz tommaso tomás tony torsten tracy tülay ulrich ulrike ursula ute uwe valentina valeria valérie vanessa vera
    veronica vicente victor victoria vijay vikram viktor vincent vincenzo virginia virginie vittorio volker véronique
    walter wanda wayne wendy werner wiebke wiesław wilhelm william wim wojciech wolfgang władysław xavier yann yannick
    yasmin yusuf yves yvonne zehra zeynep zoe zofia åke åsa özlem ümit łukasz
    """.split()
)

FAMILY = frozenset(
    """
    adams ahmed aksoy allen almeida andersen anderson andersson arslan aydın bailey bakker barbosa barnes bauer
    baumann beck becker bell bennett berg bergmann bernard bianchi bose brandt braun brooks brown bruno bruyn butler
    böhm campbell carter carvalho castro cavalcanti chatterjee chavez chopra clark clarke collins colombo conti cook
    cooper costa cox cruz da-silva das davies davis demir dias diaz dietrich dijkstra dubois durand díaz edwards engel
    eriksson evans fernandes fernandez fernández ferrari ferreira fischer flores foster frank franke fuchs garcia
    garcía gomes gomez gonzalez gonzález gonçalves graf gray greco green greene griffin groß gruber gupta gustafsson
    gómez günther haas hahn hall hansen harris hartmann heinrich hernandez hernández herrmann hill hoffmann hofmann
    howard huber hughes iyer jackson jansen janssen jansson jenkins jiménez johansson johnson jones jonsson joshi jung
    jäger kaiser kamiński kapoor kaya keller kelly khan king klein koch kovalenko kowalczyk kowalska kowalski
    kozłowski kraus krause krishnan krüger kumar köhler kühn lang lange larsson laurent lee lefebvre lehmann leroy
    lewandowska lewandowski lewis lima lindberg lindqvist long lopes lopez lorenz ludwig lópez maier malhotra marino
    martin martinez martins martínez mayer mazur mehta meier meijer mendes meyer michel miller mishra mitchell moore
    moreau morel moreno morgan morris mueller murphy murray möller müller nair nelson neumann nguyen nilsson novak
    nowak nunes o'brien oliveira olsson otto parker patel patil pereira perez persson peters petersen peterson petit
    pfeiffer pham phillips pinto pohl powell price pérez ramirez ramos ramírez rao reddy reed reis ribeiro ricci
    richards richardson richter rivera roberts robinson rocha rodrigues rodriguez rodríguez rogers romano ross rossi
    roth roux ruiz russell russo sanchez sanders santos sauer scharf schmid schmidt schmitt schmitz schneider scholz
    schreiber schröder schubert schulte schultz schulz schulze schuster schwarz schäfer scott seidel shah sharma silva
    simmons simon singh smit smith smiths soares sommer sousa souza stein stewart sullivan svensson szymański sánchez
    taylor teixeira thomas thompson torres turner van-dijk verma vieira visser vogel vogt vos wagner walker walter
    ward watson weber weiss weiß werner white williams wilson winkler winter wiśniewska wiśniewski wolf wolff wood
    woźniak wright wójcik yadav yilmaz young yıldız yılmaz ziegler zieliński zimmermann çelik özdemir öztürk şahin
    """.split()
)

BRANDS = frozenset(
    name.strip()
    for name in """
    agatha christie|alexander mcqueen|alexander wang|alice cooper|alice im|angela merkel|ann taylor|anna karenina
    anna sui|anna wintour|anne frank|anne klein|anton berg|anton corbijn|bauer skates|bella italia|ben jerry
    ben nevis|ben sherman|bernard buffet|billie eilish|black decker|bob marley|bobby brown|brown sugar
    bruce springsteen|bruno banani|calvin klein|carolina herrera|charles keith|charles tyrwhitt|charlie brown
    charlotte tilbury|chris brown|christian dior|christian louboutin|claude monet|clive christian|cristiano ronaldo
    dan brown|daniel hechter|daniel wellington|david beckham|david bowie|diana prince|diane von|dolce gabbana
    donald duck|dorothy perkins|dr barbara|dr becher|dr beckmann|dr belter|dr best|dr bronner|dr bronner's|dr brown
    dr brown's|dr browns|dr dennis|dr dents|dr dre|dr fresh|dr grandel|dr hauschka|dr house|dr jart|dr kawashima
    dr keddo|dr mario|dr martens|dr oetker|dr pepper|dr quendt|dr robot|dr schnell|dr scholl|dr scholl's|dr scholls
    dr sebagh|dr seuss|dr slump|dr squatch|dr stone|dr strange|dr theiss|dr wack|dr who|dr wolz|dr zoe|ed sheeran
    elizabeth arden|elton john|elvis presley|emily dickinson|emily in|emma bridgewater|emporio armani|engel völkers
    estee lauder|eva padberg|eva solo|felix katzenfutter|felix the|fischer ski|franck muller|frank sinatra
    frau antje|frau doktor|frau holle|fred perry|freddie mercury|frederique constant|frida kahlo|fru fru
    gabriele strehle|georg jensen|george foreman|george michael|george orwell|gerry weber|gibson les|giorgio armani
    gordon ramsay|green tea|gustav klimt|guy laroche|hans grohe|harry potter|heidi klum|helena christensen
    helena rubinstein|helly hansen|henri lloyd|henry hoover|herr bello|herr der|herr nilsson|herr tur|herr von
    hugo boss|isabel marant|jack adapter|jack cable|jack daniel's|jack daniels|jack jones|jack plug|jack russell
    jack wolfskin|james bond|james martin|jamie oliver|jan tschichold|jane austen|jane iredale|jasper conran
    jean paul|jean puerto|jil sander|jim beam|jimi hendrix|jimmy choo|joe browns|john deere|john lennon|john lewis
    johnnie walker|johnny cash|johnny walker|johnson johnson|joop homme|julia child|justin bieber|karen millen
    karl lagerfeld|kate spade|ken doll|ken follett|kenneth cole|kevin murphy|kim kardashian|kim possible|king size
    koch messer|kurt geiger|lady gaga|lange boots|lara croft|laura ashley|laura mercier|lee cooper|lee jeans
    lena hoschek|leo fender|leonardo da|leonardo glas|les paul|levi strauss|lewis hamilton|lionel messi|lisa simpson
    long sleeve|lotte lenya|louis philippe|louis vuitton|luigi mansion|lulu guinness|madame bovary|madame butterfly
    madame tussauds|madame web|marc cain|marc jacobs|marc o'polo|marc opolo|marco polo|mario kart|mark twain
    martha stewart|martin guitar|mary kay|mary poppins|max factor|max mara|max payne|max verstappen|melissa shoes
    mercedes benz|mia san|michael jackson|michael jordan|michael kors|micky maus|miles davis|minnie maus|miss dior
    miss kitty|miss marple|miss me|miss piggy|miss saigon|miss sixty|miss sporty|mme tussauds|mr alan's|mr bean
    mr daddy|mr jones|mrs robot|dr jam's|mr beast
    mr bump|mr burns|mr christmas|mr clean|mr coffee|mr freeze|mr gugu|mr heater|mr incredible|mr magic|mr magorium
    mr men|mr muscle|mr potato|mr proper|mr robot|mr t|mr x|mrs doubtfire|mrs maisel|mrs meyer's|mrs meyers|ms dos
    ms excel|ms office|ms project|ms windows|ms word|naomi campbell|nigella lawson|nina ricci|oliver peoples
    oliver twist|olivia burton|oral b|oscar de|oscar wilde|pablo picasso|paco rabanne|paloma picasso|pan am
    pan pizza|pan tadeusz|pani walewska|patrick star|paul frank|paul mitchell|paul smith|paula's choice|penny board
    peter hahn|peter pan|peter rabbit|phil collins|philipp plein|philips hue|pierre cardin|price tag|prof x
    professor layton|rachel ray|ralph lauren|rené lezard|robert bosch|roberto cavalli|robin hood|roger federer
    rosa lila|rosa luxemburg|rosenthal studio|ruby rose|ruth maria|sally hansen|salvatore ferragamo|sam edelman
    sam smith|scott bike|scott spark|sean john|sergio tacchini|signor rossi|simon carter|simon says|simone pérèle
    smith wesson|sonic frontiers|sophie allport|sophie giraffe|sophie la|spider man|sr sport|sr suntour
    sr-71 blackbird|stella mccartney|stephen king|steve madden|steven universe|susan boyle|tatiana faberge
    taylor swift|ted baker|theo klein|thomas cook|thomas lokomotive|thomas philipp|thomas sabo|till eulenspiegel
    tim burton|tim hortons|tina turner|tom clancy|tom ford|tom tailor|tom tom|tommy hilfiger|tony hawk|tony stark
    trixie mattel|ulysse nardin|valentina tereshkova|van gogh|vanessa bruno|vera bradley|vera wang|veronica mars
    victor hugo|victoria beckham|vincent van|vivienne westwood|walter white|white label|wolfgang amadeus|wood stain
    young adult|yves rocher|yves saint|zac posen
    """.replace("\n", "|").split("|")
)

NOT_A_NAME = frozenset(
    """
    a adapter adult adults also am amsterdam an and are as at auf austria avec azul babies baby bag bambini battery be
    bed beer beige bell berlin best bianco big black blanc blanco blau bleu blu blue bluse book books boot boots boss
    bottle box boy boyfriend boys braun bread brother brown by cable cables cake camera cap card cards care case
    casual cat cats chair charger cheap child children coat coffee colleague colleagues collection con confirmation
    counter couple couples coworker cup dad damen das day days de dein dem den der des desk deutschland device die
    display displays dog dogs donna door dress drill drink du dvd e earl edition een eight ein eine einen el elegant
    enfant enfants england et europe everyone experience facing family fast father femme femmes festlich fille filter
    fit five food for form forms four france frauen free freund freundin friend friends from für galaxy game games
    garçon gelb germany girl girlfriend girls glass gli gmbh gold grandma grandpa grau gray green grey groß gruen grün
    handy hat hdd hdmi he headphones hemd her herren het high him his history hombre hombres home homme hommes hoodie
    hose hosen hotel house how hub husband i id il im in inc ink ipad iphone is ist it italy its jacke jacken jacket
    jaune jeans journey jungen just kabel kettle keyboard kid kids kinder kinderen kit kleid kleider klein knife
    kollegen kurz la label labels lamp lang laptop large las le lego lehrer les light lila llc lo login london long
    los low ltd machine madrid maedchen maenner mama maman man manager mannen mantel max me mein men milan mini mit
    mode modus mom monitor month mother mouse mug mujer mujeres mum mutter my mädchen männer navy necklace negro nero
    new next nine niñas niños noir not notebook now number numbers nurse o oder of office old oma on one online only
    opa or orange ou our pack pad pads pan pants papa paper para paris per phoenix phone picker pink pizza plate plus
    poland portal portugal poster pot pour printer pro pullover purple puzzle ram red relationship reviews ring rock
    rojo rome rosa rosso rot rouge same schick school schwarz sein series service set seven sexy she shirt shirts shoe
    shoes shop shore short silver sister six size slim small sneaker sneakers socks sofa someone sommer spain speaker
    sportlich ssd status sticker stickers store stores success sugar support sweater switzerland table tablet tag tags
    tea teacher teachers teen teens ten tent than that the their them then these they this those three to today
    tomorrow toner toy toys tracking tv two uk un una und une uno uomo us usa usb vater verde vert vienna vinyl von
    vrouwen was watch water we week weeks weiss weiß what when where which white who why wife wine winter with woman
    women work xl xxl y year years yellow you your zurich
    """.split()
)

CUES = frozenset(
    """
    adim adım attn attn. attn: bestallning bestelling bestellung beställning bezorgen birthday c/o cadeau called
    chamo chiamo ciao client client: commande consegna customer customer: dear deliver delivery dhr dhr. dona dr dr.
    encomenda engraved entrega entregar fr. frau froken fru fröken geschenk geschenke gift hallo heet heisse heiße
    hello herr herrn heter hr. kunde kunde: kunden kundin lieferadresse liefere liefern lieferung livraison livrer
    llamo m'appelle madame mademoiselle meneer mevr mevr. mevrouw miss mister mlle mme mme. monsieur mr mr. mrs mrs.
    ms ms. m’appelle naam name namn nazywam nom nombre nome order ordered ordine package paket pan pani panu parcel
    pedido personalised personalized present prezent prof prof. regalo sayın send senhor senhora senor senora señor
    señora ship sig. signor signora signore sr sr. sra sra. z.hd. zamowienie zamówienie zhd
    """.split()
)
"""Words without which no name is announced; most queries have none of them, and are left after one look."""
